package api_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

// What is asked of statistics and of a search reaches the master, and what can't be asked is refused with what can.
func TestStatsAndSearch(t *testing.T) {
	f := serve(t)
	c, err := client.New(client.Options{Server: f.url, Token: "rota_viewer"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, r := range []job.ExecutionRecord{
		{ID: "a", Group: "g", Name: "x", Node: "n1", Outcome: job.Success, Output: "12 files"},
		{ID: "b", Group: "g", Name: "x", Node: "n2", Outcome: job.Failed, Reason: "refused"},
		{ID: "c", Group: "g", Name: "y", Node: "n2", Outcome: job.Success},
	} {
		f.master.Add(r)
	}
	ctx := t.Context()
	stats, err := c.Stats(ctx, job.StatsFilter{Group: "g", By: job.ByTask})
	if err != nil || len(stats) != 2 || stats[0].Task != "g/x" || stats[0].Count[job.Failed] != 1 || stats[1].Count[job.Success] != 1 {
		t.Errorf("by task: %+v, %v", stats, err)
	}
	stats, err = c.Stats(ctx, job.StatsFilter{Task: "x", Node: "n2"})
	if err != nil || len(stats) != 1 || len(stats[0].Count) != 1 {
		t.Errorf("of a task on a node: %+v, %v", stats, err)
	}
	_, err = c.Stats(ctx, job.StatsFilter{By: "moon"})
	if job.CodeOf(err) != job.CodeInvalid || !strings.Contains(err.Error(), "day, node, task") {
		t.Errorf("by what there is not: %v", err)
	}
	for text, want := range map[string]string{"files": "a", "refused": "b"} {
		page, err := c.Records(ctx, job.RecordFilter{Search: text})
		if err != nil || len(page.Records) != 1 || page.Records[0].ID != want {
			t.Errorf("search of %s: %+v, %v", text, page, err)
		}
	}
	_, err = c.Records(ctx, job.RecordFilter{Search: strings.Repeat("x", 1025)})
	if client.StatusOf(job.CodeOf(err)) != http.StatusUnprocessableEntity {
		t.Errorf("a search that is too long: %v", err)
	}
}
