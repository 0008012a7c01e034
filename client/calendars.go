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

// SetCalendar writes a calendar, or says what that would do. The tasks that name it follow it.
func (c *Client) SetCalendar(ctx context.Context, calendar job.Calendar, dry bool) (*CalendarView, error) {
	r := &call{method: http.MethodPut, path: []string{"calendars", calendar.Name}, query: map[string][]string{}, again: true}
	if dry {
		r.set("dry_run", "true")
	}
	r, err := r.json(calendar)
	if err != nil {
		return nil, err
	}
	return one[CalendarView](ctx, c, r)
}

// DeleteCalendar deletes a calendar. One that a task names is a conflict.
func (c *Client) DeleteCalendar(ctx context.Context, name string) error {
	return c.do(ctx, &call{method: http.MethodDelete, path: []string{"calendars", name}})
}
