package master

import "github.com/rota-dev/rota/client"

// The types in which the master answers are those that go over the wire; package client has their contracts.
type (
	Change         = client.Change
	Applied        = client.Applied
	ApplyOptions   = client.ApplyOptions
	TaskView       = client.TaskView
	NodeView       = client.NodeView
	JobFilter      = client.JobFilter
	Group          = client.Group
	RunRequest     = client.RunRequest
	RunAnswer      = client.RunAnswer
	RunListRequest = client.RunListRequest
	RunListAnswer  = client.RunListAnswer
	RunHandle      = client.RunHandle
	RunView        = client.RunView
	Upcoming       = client.Upcoming
	Status         = client.Status
	CalendarView   = client.CalendarView
	Event          = client.Event
	LogEvent       = client.LogEvent
)

// The changes.
const (
	Created    = client.Created
	Configured = client.Configured
	Unchanged  = client.Unchanged
	Deleted    = client.Deleted
)

// EventGap is the type of the event that tells a slow reader that it missed some.
const EventGap = client.EventGap
