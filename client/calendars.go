package client

import (
	"context"
	"net/http"

	"github.com/rota-dev/rota/job"
)

// Calendars lists the calendars.
func (c *Client) Calendars(ctx context.Context) ([]CalendarView, error) {
	var out []CalendarView
	return out, c.do(ctx, get(&out, "calendars"))
}

// Calendar reads one calendar.
func (c *Client) Calendar(ctx context.Context, name string) (*CalendarView, error) {
	return one[CalendarView](ctx, c, get(nil, "calendars", name))
}

// SetCalendar writes a calendar whatever is there, or says what that would do. The tasks that name it follow it.
func (c *Client) SetCalendar(ctx context.Context, calendar job.Calendar, dry bool) (*CalendarView, error) {
	return c.putCalendar(ctx, calendar, -1, dry)
}

// PutCalendar writes a calendar if its revision is still rev; 0: if there is none yet; negative: in any case. Another revision is a
// conflict.
func (c *Client) PutCalendar(ctx context.Context, calendar job.Calendar, rev int64) (*CalendarView, error) {
	return c.putCalendar(ctx, calendar, rev, false)
}

func (c *Client) putCalendar(ctx context.Context, calendar job.Calendar, rev int64, dry bool) (*CalendarView, error) {
	r, err := put(rev, calendar, "calendars", calendar.Name)
	if err != nil {
		return nil, err
	}
	if dry {
		r.set("dry_run", "true")
	}
	r.again = rev < 0 // what was set is unchanged the second time
	return one[CalendarView](ctx, c, r)
}

// DeleteCalendar deletes a calendar. One that a task names is a conflict.
func (c *Client) DeleteCalendar(ctx context.Context, name string) error {
	return c.do(ctx, &call{method: http.MethodDelete, path: []string{"calendars", name}})
}
