package job

import (
	"encoding/json"
	"strings"
	"time"
)

// AlertSort is what an alert is about.
type AlertSort string

// The sorts.
const (
	AlertTask    AlertSort = "task"
	AlertMonitor AlertSort = "monitor"
	AlertGroup   AlertSort = "group"
)

// AlertKey names what people are told of: a task, on a node where it is common; a monitor; a group.
type AlertKey struct {
	Sort AlertSort
	Ref  string // group/name of a task, else a name
	Node NodeID // empty: wherever it runs
}

// String is the key as history keeps it.
func (k AlertKey) String() string { return string(k.Sort) + " " + k.Ref + " " + string(k.Node) }

// Alert is how things stand with what people are told of. What it says is the business of package internal/notify.
type Alert struct {
	Key     string
	State   json.RawMessage
	Due     time.Time // when it is to be looked at again; zero: only when something happens
	Version int64     // of what was read; 0: there was none
}

// ParseAlertKey reads what [AlertKey.String] wrote.
func ParseAlertKey(s string) AlertKey {
	sort, rest, _ := strings.Cut(s, " ")
	ref, node, _ := strings.Cut(rest, " ")
	return AlertKey{AlertSort(sort), ref, NodeID(node)}
}

// AlertInput is a record, or something else, of which people may have to be told.
type AlertInput struct {
	Key AlertKey
	// Record and Outcome are those of the record; it counts once for each outcome that it had, and only while it stands. Of a group the
	// record is an execution, which counts once. Empty: no record.
	Record  string
	Outcome Outcome
}

// Delivery is a message to one receiver, and what became of it.
type Delivery struct {
	ID       string         `json:"id"`
	Receiver string         `json:"receiver"`
	Subject  string         `json:"subject"` // what it is about, such as task default/backup
	Task     string         `json:"task"`    // group/name of a task, the name of a monitor or a group
	Node     NodeID         `json:"node,omitempty"`
	Event    AlertEvent     `json:"event"`
	Record   string         `json:"record,omitempty"`
	Status   DeliveryStatus `json:"status"`
	Attempts int            `json:"attempts"`
	Created  time.Time      `json:"created"`
	NextAt   time.Time      `json:"next_at,omitzero"` // of the next attempt
	DoneAt   time.Time      `json:"done_at,omitzero"`
	Answer   string         `json:"answer,omitempty"` // of the receiver, at the last attempt, or why there was none
	Into     string         `json:"into,omitempty"`   // the summary that stands for it

	Message json.RawMessage `json:"message,omitempty"`
}

// DeliveryStatus says where a message stands.
type DeliveryStatus string

// The statuses.
const (
	DeliveryWaiting    DeliveryStatus = "waiting"
	DeliverySent       DeliveryStatus = "sent"
	DeliveryFailed     DeliveryStatus = "failed"     // given up
	DeliverySummarised DeliveryStatus = "summarised" // another message stands for it
)

// DeliveryStatuses are all of them.
var DeliveryStatuses = []DeliveryStatus{DeliveryWaiting, DeliverySent, DeliveryFailed, DeliverySummarised}

// DeliveryFilter selects deliveries. Zero fields select everything.
type DeliveryFilter struct {
	Receiver string
	Task     string // group/name, or a name alone for any group; of a monitor or a group too
	Status   DeliveryStatus
	Limit    int // 0: 100
}

// DeliveryID is the identity of a message: what it is about, what it tells, and whom.
func DeliveryID(parts ...string) string { return digest(append([]string{"delivery"}, parts...)...) }
