package api

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/rota-dev/rota/job"
)

type recordsInput struct {
	JobFilter
	Job     string        `query:"job" doc:"The job's id"`
	Outcome []job.Outcome `query:"outcome,explode" doc:"May be given several times"`
	Trigger job.Trigger   `query:"trigger"`
	Since   time.Time     `query:"since" doc:"Ended at this time or later"`
	Until   time.Time     `query:"until" doc:"Ended before this time"`
	Limit   int           `query:"limit" minimum:"0" maximum:"1000" doc:"At most so many; default 100"`
	Cursor  string        `query:"cursor" maxLength:"1024" doc:"The field next of the page before"`
	Search  string        `query:"search" maxLength:"1024" doc:"With this text in the output, as far as it is kept, or in the reason; ASCII letters match in either case. A page may have few records, or none, and still a next"`
	Output  bool          `query:"output" doc:"With output, results and attempts"`
}

func (in *recordsInput) filter() (job.RecordFilter, error) {
	if _, err := in.JobFilter.filter(); err != nil {
		return job.RecordFilter{}, err
	}
	var f job.Faults
	for _, o := range in.Outcome {
		if !o.Valid() {
			f.AddHint("outcome", wantOneOf(string(o), texts(job.Outcomes)), "%.40q is no outcome", o)
		}
	}
	if t := triggers(); in.Trigger != "" && !slices.Contains(t, in.Trigger) {
		f.AddHint("trigger", wantOneOf(string(in.Trigger), texts(t)), "%.40q is no trigger", in.Trigger)
	}
	if in.Job != "" {
		if err := job.CheckName("job", in.Job); err != nil {
			f.AddError("job", err)
		}
	}
	return job.RecordFilter{
		Group: in.Group, Task: in.Task, Node: job.NodeID(in.Node), JobID: in.Job, Outcome: in.Outcome, Trigger: in.Trigger,
		Since: in.Since, Until: in.Until, Search: in.Search, Limit: in.Limit, Cursor: in.Cursor, WithOutput: in.Output,
	}, f.Err("the filter is not valid")
}

func triggers() []job.Trigger {
	return []job.Trigger{
		job.TriggerTimer, job.TriggerRun, job.TriggerDispatch, job.TriggerNext, job.TriggerDepend,
		job.TriggerRetry, job.TriggerCatchup, job.TriggerBackfill,
	}
}

func texts[S ~string](words []S) []string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = string(w)
	}
	return out
}

type statsInput struct {
	JobFilter
	Since time.Time   `query:"since" doc:"From the day, in UTC, of this time on"`
	Until time.Time   `query:"until" doc:"Up to the day, in UTC, that ends at this time or has it within"`
	By    job.StatsBy `query:"by" doc:"Divided by day, node or task; not at all without"`
}

func (in *statsInput) filter() (job.StatsFilter, error) {
	if _, err := in.JobFilter.filter(); err != nil {
		return job.StatsFilter{}, err
	}
	var f job.Faults
	if !in.By.Valid() {
		f.AddHint("by", wantOneOf(string(in.By), texts(job.StatsBys)), "statistics by %.40q are not kept", in.By)
	}
	return job.StatsFilter{Group: in.Group, Task: in.Task, Node: job.NodeID(in.Node), From: in.Since, To: in.Until, By: in.By}, f.Err("the filter is not valid")
}

func (s *server) recordRoutes(a huma.API) {
	handle(s, a, route{http.MethodGet, "/stats", "list-stats", "Sum up records: counts, success, durations, percentiles", RoleViewer},
		func(ctx context.Context, in *statsInput) (*answer[[]job.Stats], error) {
			f, err := in.filter()
			if err != nil {
				return nil, err
			}
			stats, err := s.master.Stats(ctx, f)
			return &answer[[]job.Stats]{list(stats)}, err
		})
	handle(s, a, route{http.MethodGet, "/records", "list-records", "List records, newest first", RoleViewer},
		func(ctx context.Context, in *recordsInput) (*answer[job.Page], error) {
			f, err := in.filter()
			if err != nil {
				return nil, err
			}
			page, err := s.master.Records(ctx, f)
			page.Records = list(page.Records)
			return &answer[job.Page]{page}, err
		})
	type recordPath struct {
		Record string `path:"record" doc:"The record's id"`
	}
	handle(s, a, route{http.MethodGet, "/records/{record}", "get-record", "Read a record", RoleViewer},
		func(ctx context.Context, in *recordPath) (*answer[job.ExecutionRecord], error) {
			r, err := s.master.Record(ctx, in.Record)
			return &answer[job.ExecutionRecord]{r}, err
		})
	type numberPath struct {
		TaskPath
		Number int64 `path:"number" minimum:"1" doc:"The record's number within its task"`
	}
	handle(s, a, route{
		http.MethodGet, "/tasks/{group}/{name}/records/{number}", "get-record-by-number",
		"Read a task's record of a number", RoleViewer,
	}, func(ctx context.Context, in *numberPath) (*answer[job.ExecutionRecord], error) {
		r, err := s.master.RecordByNumber(ctx, in.ref(), in.Number)
		return &answer[job.ExecutionRecord]{r}, err
	})
}
