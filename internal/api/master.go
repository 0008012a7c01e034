package api

import (
	"context"
	"time"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/internal/master"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// Master is what the API asks. Implementations are safe for concurrent use; errors carry a [job.Code].
type Master interface {
	// ApplyDocuments creates or changes tasks and what they use. It looks at all of them before it writes the first.
	ApplyDocuments(ctx context.Context, docs job.Documents, o master.ApplyOptions) ([]master.Applied, error)
	// Templates are what tasks share.
	Templates(ctx context.Context) ([]job.Entry[job.Template], error)
	Template(ctx context.Context, name string) (*job.Entry[job.Template], error)
	DeleteTemplate(ctx context.Context, name string) error
	// Receivers are where messages go.
	Receivers(ctx context.Context) ([]job.Entry[job.Receiver], error)
	Receiver(ctx context.Context, name string) (*job.Entry[job.Receiver], error)
	DeleteReceiver(ctx context.Context, name string) error
	// TestReceiver sends a message now. That it was not taken is in the delivery, and no error.
	TestReceiver(ctx context.Context, name, by string) (*job.Delivery, error)
	Deliveries(ctx context.Context, f job.DeliveryFilter) ([]job.Delivery, error)
	// Monitors are the jobs that are watched and not run.
	Monitors(ctx context.Context) ([]master.MonitorView, error)
	Monitor(ctx context.Context, name string) (*master.MonitorView, error)
	RenewMonitorKey(ctx context.Context, name string) (*master.MonitorView, error)
	DeleteMonitor(ctx context.Context, name string) error
	// CheckPing tells whether there is a monitor of a key; Ping takes what its job says.
	CheckPing(key string) error
	Ping(ctx context.Context, key string, p job.Ping) error
	// PutDocument writes one document where its revision is still rev; 0: where there is none, negative: whatever is there.
	PutDocument(ctx context.Context, doc job.Documents, rev int64) (master.Applied, error)
	// Delete deletes a task where its revision is still rev; 0: whatever it is.
	Delete(ctx context.Context, ref job.TaskRef, rev int64) error
	// Unneeded refuses, as a conflict, the deletion of a task that others depend on.
	Unneeded(ctx context.Context, ref job.TaskRef) error
	Pause(ctx context.Context, ref job.TaskRef, by string) (*job.TaskEntry, error)
	Resume(ctx context.Context, ref job.TaskRef, by string) (*job.TaskEntry, error)

	// Tasks lists those of a group and a name; empty: of any.
	Tasks(ctx context.Context, group, name string) ([]master.TaskView, error)
	Task(ctx context.Context, ref job.TaskRef) (*master.TaskView, error)
	// GroupViews lists the groups of tasks, with what is said of them.
	GroupViews(ctx context.Context) ([]master.GroupView, error)
	GroupOf(ctx context.Context, name string) (*master.GroupView, error)
	DeleteGroup(ctx context.Context, name string, tasks bool) error
	PauseGroup(ctx context.Context, name, by string) error
	ResumeGroup(ctx context.Context, name, by string) error
	// RunGroup begins an execution of a group.
	RunGroup(ctx context.Context, r master.GroupRequest) (*master.ExecutionView, error)
	ListExecutions(ctx context.Context, f master.ExecutionFilter) ([]master.ExecutionView, error)
	ExecutionState(ctx context.Context, id string) (*master.ExecutionView, error)
	CancelExecution(ctx context.Context, id, by string) (*master.ExecutionView, error)
	RetryExecution(ctx context.Context, id, by string) (*master.ExecutionView, error)
	// Jobs come with RunStatus and AvgTime filled in.
	Jobs(ctx context.Context, f master.JobFilter) ([]*job.Job, error)
	Processes(ctx context.Context, f master.JobFilter) ([]*job.Process, error)
	Next(ctx context.Context, group, name string, limit int) ([]master.Upcoming, error)

	Nodes(ctx context.Context) ([]master.NodeView, error)
	Node(ctx context.Context, id job.NodeID) (*master.NodeView, error)
	LabelNode(ctx context.Context, id job.NodeID, set map[string]string, remove []string) (*master.NodeView, error)
	Cordon(ctx context.Context, id job.NodeID, cordoned bool) (*master.NodeView, error)
	Drain(ctx context.Context, id job.NodeID) (*master.NodeView, error)
	SetLease(ctx context.Context, id job.NodeID, lease job.Duration) (*master.NodeView, error)
	// DeleteNode refuses a node that is online.
	DeleteNode(ctx context.Context, id job.NodeID) error

	Run(ctx context.Context, r master.RunRequest) (master.RunAnswer, error)
	RunList(ctx context.Context, r master.RunListRequest) (master.RunListAnswer, error)
	// Exec runs a command that is no task.
	Exec(ctx context.Context, r client.ExecRequest) (master.RunAnswer, error)
	RunState(ctx context.Context, id job.RunID) (*master.RunView, error)
	// Runs lists those that have not ended.
	Runs(ctx context.Context, f master.JobFilter) ([]master.RunView, error)
	Kill(ctx context.Context, id job.RunID, by string) error
	// Log tells what a run has written and writes; see [master.Master.Log].
	Log(ctx context.Context, r master.LogRequest, emit func(master.LogEvent) error) error
	// TakeLog takes what a node sends of a log that is followed; see [master.Master.TakeLog].
	TakeLog(ctx context.Context, id, token string, b *job.LogBatch) (job.LogWanted, error)

	// Why tells what became of the last instant at or before a time; zero: now.
	Why(ctx context.Context, ref job.TaskRef, at time.Time) (*master.Why, error)
	// Backfill asks for the instants of a range, each once.
	Backfill(ctx context.Context, r master.BackfillRequest) (master.BackfillAnswer, error)
	Backfills(ctx context.Context, group, name string) ([]master.BackfillView, error)
	BackfillState(ctx context.Context, id string) (*master.BackfillView, error)
	// CancelBackfill ends one that is under way, and forgets one that has finished.
	CancelBackfill(ctx context.Context, id, by string, kill bool) (*master.BackfillView, error)

	Record(ctx context.Context, id string) (job.ExecutionRecord, error)
	RecordByNumber(ctx context.Context, ref job.TaskRef, number int64) (job.ExecutionRecord, error)
	Records(ctx context.Context, f job.RecordFilter) (job.Page, error)
	// Stats sums up records; see [job.History].
	Stats(ctx context.Context, f job.StatsFilter) ([]job.Stats, error)

	Calendars(ctx context.Context) ([]master.CalendarView, error)
	Calendar(ctx context.Context, name string) (*master.CalendarView, error)
	// SetCalendar writes a calendar, or says what that would do; rev is as it is of PutDocument.
	SetCalendar(ctx context.Context, c job.Calendar, rev int64, dry bool) (*master.CalendarView, error)
	// DeleteCalendar refuses one that a task names.
	DeleteCalendar(ctx context.Context, name string) error

	// Config lists a group's values; empty: the global ones and those of every group.
	Config(ctx context.Context, group string) ([]store.Config, error)
	SetConfig(ctx context.Context, group, key, value string) error
	DeleteConfig(ctx context.Context, group, key string) error

	// Masters lists those that are alive.
	Masters(ctx context.Context) ([]client.MasterView, error)
	// Members lists the servers of etcd.
	Members(ctx context.Context) ([]client.Member, error)
	AddMember(ctx context.Context, peerURL string) (*client.Member, error)
	// RemoveMember refuses where the others could not go on.
	RemoveMember(ctx context.Context, name string) (*client.Member, error)

	Status(ctx context.Context) master.Status
	// Ready tells why the master cannot serve now, or nil.
	Ready(ctx context.Context) error
	// Subscribe yields what changes until the context ends, when the channel is closed. A slow reader misses
	// events and is told so by one of type [master.EventGap].
	Subscribe(ctx context.Context) <-chan master.Event
}
