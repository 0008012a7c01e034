package history

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
)

// testAlerts: a record counts once for each outcome that it had, messages and state come together, and what is done stays so.
func testAlerts(t *testing.T, d *DB) {
	ctx := context.Background()
	ref := job.Ref("", "a")
	key := job.AlertKey{Sort: job.AlertTask, Ref: ref.String()}
	decided := 0
	change := func(outcome job.Outcome) {
		t.Helper()
		err := d.ChangeAlerts(ctx, []job.AlertInput{{Key: key, Record: "r1", Outcome: outcome}}, func(_ int, old job.Alert) (job.Alert, []job.Delivery, bool) {
			decided++
			old.State, old.Due = json.RawMessage(fmt.Sprintf(`{"n":%d}`, decided)), epoch
			var out []job.Delivery
			for i := range 3 {
				out = append(out, job.Delivery{
					ID: fmt.Sprint(outcome, i), Receiver: "ops", Task: key.Ref, Event: job.AlertFailed, Status: job.DeliveryWaiting, Created: epoch, NextAt: epoch, Message: json.RawMessage(`{}`),
				})
			}
			return old, out, true
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	change(job.Lost) // history does not have it yet
	insert(t, d, record(ref, "r1", job.Lost, epoch))
	change(job.Failed) // it stands otherwise
	wantSame(t, "decided before", decided, 0)
	change(job.Lost)
	change(job.Lost)
	wantSame(t, "decided once", decided, 1)
	insert(t, d, record(ref, "r1", job.Failed, epoch))
	change(job.Lost)
	change(job.Failed)
	change(job.Failed)
	wantSame(t, "decided for each outcome", decided, 2)
	keys, err := d.DueAlerts(ctx, epoch, 10)
	wantCode(t, err, "")
	wantSame(t, "due", keys, []string{key.String()})
	due, err := d.DueDeliveries(ctx, epoch, 10)
	wantCode(t, err, "")
	var ids []string
	for _, m := range due {
		ids = append(ids, m.ID)
	}
	wantSame(t, "in the order in which they were made", ids, []string{"lost0", "lost1", "lost2", "failed0", "failed1", "failed2"})

	done := due[0]
	done.Status, done.NextAt, done.DoneAt, done.Answer = job.DeliverySent, time.Time{}, epoch.Add(time.Minute), "taken"
	wantCode(t, d.PutDeliveries(ctx, []job.Delivery{done}), "")
	late := due[0]
	late.Answer = "a leader that was overtaken"
	wantCode(t, d.PutDeliveries(ctx, []job.Delivery{late}), "")
	list, err := d.Deliveries(ctx, job.DeliveryFilter{Status: job.DeliverySent, Task: key.Ref, Receiver: "ops"})
	wantCode(t, err, "")
	wantSame(t, "sent", list, []job.Delivery{done})
	times, err := d.SentTimes(ctx, "ops", epoch)
	wantCode(t, err, "")
	wantSame(t, "times", times, []time.Time{done.DoneAt})

	wantCode(t, d.PruneAlerts(ctx, epoch.Add(time.Hour)), "")
	list, err = d.Deliveries(ctx, job.DeliveryFilter{})
	wantCode(t, err, "")
	wantSame(t, "what waits is not pruned", len(list), 5)
}
