package job

// Placement says of one node whether a task is bound to it, and why not.
type Placement struct {
	Node   NodeID `json:"node"`
	Bound  bool   `json:"bound"`
	Online bool   `json:"online"`
	Reason string `json:"reason,omitempty"` // why it is not there, or what it waits for there
}

// NotRun says why a node that a request meant does not run it.
type NotRun struct {
	Node   NodeID `json:"node"`
	Reason string `json:"reason"`
	Waits  bool   `json:"-"` // nothing but what the task depends on keeps it
}
