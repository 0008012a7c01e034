package node

const spoolChildEnv = "ROTA_TEST_SPOOL"

func spoolChild(string) {}
