package job

import "time"

// ClockSample is what a node's wall clock showed when it was asked. A master compares it with its own when it hears of it.
type ClockSample struct {
	Node    NodeID    `json:"node,omitempty"` // empty: the leader's
	Session string    `json:"session"`
	At      time.Time `json:"at"`
}

// Replacement is the wish of a run of an alone task that the one that holds the task's lock ends for it. It stands with the node
// whose run waits; the leader asks the holder's node.
type Replacement struct {
	Node   NodeID  `json:"node"`
	Run    RunID   `json:"run"`
	Task   TaskRef `json:"task"`
	Holder Lock    `json:"holder"`
}
