package apitest

import (
	"context"
	"time"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/internal/master"
	"github.com/rota-dev/rota/job"
)

// Log tells what a run's record has, when it has ended.
func (m *Master) Log(ctx context.Context, r master.LogRequest, emit func(master.LogEvent) error) error {
	v, err := m.RunState(ctx, r.Run)
	if job.IsNotFound(err) { // one that was added as a record alone
		rec, missing := m.Record(ctx, string(r.Run))
		if missing != nil {
			return err
		}
		v, err = &master.RunView{Run: r.Run, State: job.RunState(rec.Outcome), Task: rec.Ref(), Node: rec.Node, Record: &rec}, nil
	}
	if err != nil {
		return err
	}
	sub, cancel := context.WithCancel(ctx)
	defer cancel()
	events := m.Subscribe(sub)
	defer func() {
		cancel()
		for range events { //nolint:revive // until it is closed
		}
	}()
	if err := emit(master.LogEvent{}); err != nil {
		return err
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !v.Ended() && r.Follow {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-events:
		case <-tick.C:
		}
		if v, err = m.RunState(ctx, r.Run); err != nil {
			return err
		}
	}
	end := master.LogEvent{Type: client.LogEnd, Run: v}
	if rec := v.Record; rec != nil {
		at := job.LogPosition{Attempt: max(rec.Attempt, 1)}
		if from := r.From.Offset; from < int64(len(rec.Output)) {
			at.Offset = int64(len(rec.Output))
			c := &job.Chunk{Offset: from, Stream: job.Stdout, Time: rec.EndTime, Data: []byte(rec.Output[from:])}
			if err := emit(master.LogEvent{Type: client.LogOutput, At: at, Chunk: c}); err != nil {
				return err
			}
		}
		end.At, end.Outcome, end.ExitCode = at, rec.Outcome, rec.ExitCode
	}
	return emit(end)
}

// TakeLog takes nothing: nobody follows a node's log here.
func (m *Master) TakeLog(context.Context, string, string, *job.LogBatch) (job.LogWanted, error) {
	return job.LogWanted{}, job.Errorf(job.CodeUnauthorized, "nobody follows a log by that name and token")
}
