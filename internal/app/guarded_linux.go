package app

import "os"

// hasInit tells whether this process is the child of a PID 1 that is ours: with it, everything in the container ends.
func hasInit() bool { return os.Getenv(underInit) != "" }
