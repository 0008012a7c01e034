package api

import (
	"context"
	"encoding/json"
	"mime"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

type CalendarPath struct {
	Calendar string `path:"calendar" doc:"The calendar's name"`
}

type setCalendarInput struct {
	CalendarPath
	Precondition
	DryRun  bool   `query:"dry_run" doc:"Change nothing, but say what would"`
	File    string `query:"file" maxLength:"4096" doc:"The name of the file, which is kept as the calendar's source"`
	Kind    string `header:"Content-Type"`
	RawBody []byte
}

func (s *server) calendarRoutes(a huma.API) {
	handle(s, a, route{http.MethodGet, "/calendars", "list-calendars", "List the calendars that tasks can exclude", RoleViewer},
		func(ctx context.Context, _ *nothing) (*answer[[]client.CalendarView], error) {
			all, err := s.master.Calendars(ctx)
			for i := range all {
				all[i].Tasks = list(all[i].Tasks)
			}
			return &answer[[]client.CalendarView]{list(all)}, err
		})
	handle(s, a, route{http.MethodGet, "/calendars/{calendar}", "get-calendar", "Read a calendar", RoleViewer},
		func(ctx context.Context, in *CalendarPath) (*tagged[*client.CalendarView], error) {
			return calendarAnswer(s.master.Calendar(ctx, in.Calendar))
		})
	text := &huma.Schema{Type: huma.TypeString}
	schema := a.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[job.Calendar](), true, "Calendar")
	handle(s, a, route{http.MethodPut, "/calendars/{calendar}", "set-calendar", "Write a calendar; the tasks that name it follow it", RoleEditor},
		func(ctx context.Context, in *setCalendarInput) (*tagged[*client.CalendarView], error) {
			c, err := readCalendar(in)
			if err != nil {
				return nil, err
			}
			rev, err := in.revision()
			if err != nil {
				return nil, err
			}
			return calendarAnswer(s.master.SetCalendar(ctx, c, rev, in.DryRun))
		},
		document("The calendar, or the text of a file of it.", map[string]*huma.Schema{
			"application/json": schema, "text/calendar": text, "application/yaml": text,
		}))
	handle(s, a, route{http.MethodDelete, "/calendars/{calendar}", "delete-calendar", "Delete a calendar that no task and no group names", RoleEditor},
		func(ctx context.Context, in *CalendarPath) (*nothing, error) {
			return nil, s.master.DeleteCalendar(ctx, in.Calendar)
		})
}

func calendarAnswer(v *client.CalendarView, err error) (*tagged[*client.CalendarView], error) {
	if err != nil {
		return nil, err
	}
	v.Tasks = list(v.Tasks)
	return &tagged[*client.CalendarView]{etag(v.Revision), v}, nil
}

// readCalendar reads a body: JSON is a calendar, anything else the text of a file.
func readCalendar(in *setCalendarInput) (job.Calendar, error) {
	if kind, _, _ := mime.ParseMediaType(in.Kind); kind != "application/json" {
		file := in.File
		if file == "" {
			file = in.Calendar
		}
		return job.ReadCalendar(in.Calendar, file, in.RawBody, time.Now())
	}
	var c job.Calendar
	if err := json.Unmarshal(in.RawBody, &c); err != nil {
		return c, job.Errorf(job.CodeInvalid, "the body is no calendar: %w", err)
	}
	if c.Name == "" {
		c.Name = in.Calendar
	}
	if c.Name != in.Calendar {
		return c, job.Errorf(job.CodeInvalid, "the calendar is %s, the path says %s", c.Name, in.Calendar)
	}
	return c, nil
}
