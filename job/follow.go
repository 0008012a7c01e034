package job

// Follow asks a node to send the log of a run to a master. It stands under the master's lease, below the node's own prefix: nodes need
// no listening port, they call out. It says nothing of how far the master has come, which the master tells when it is called.
type Follow struct {
	ID     string `json:"id"`
	Node   NodeID `json:"node"`
	Run    RunID  `json:"run"`
	Master string `json:"master"` // its id
	// URLs are where the master is reached, in the order in which to try them.
	URLs []string `json:"urls"`
	// Token opens this one upload and nothing else.
	Token string `json:"token"`
	// Pin is the SHA-256 of the certificate (DER, hexadecimal) that the master shows at its https addresses.
	Pin string `json:"pin,omitempty"`
}
