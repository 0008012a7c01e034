package api_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

// Every sort of document is written in the place of the version that was read, and of no other.
func TestDocumentsCompareAndSwap(t *testing.T) {
	t.Parallel()
	f := serve(t)
	for _, sort := range []struct{ path, one, two string }{
		{"templates/a", `{"command":"one"}`, `{"name":"a","command":"two"}`},
		{"receivers/a", `{"webhook":{"url":"https://example.com/1"}}`, `{"name":"a","webhook":{"url":"https://example.com/2"}}`},
		{"monitors/a", `{"timer":"@daily"}`, `{"name":"a","timer":"@hourly"}`},
		{"groups/a", `{"description":"one"}`, `{"name":"a","description":"two"}`},
		{"calendars/a", `{"ranges":["2026-12-25"]}`, `{"name":"a","ranges":["2026-12-26"]}`},
	} {
		path := "/api/v1/" + sort.path
		var read string // the ETag of the newest version
		for _, c := range []struct {
			name, body, match, none string
			status                  int
			want                    string
		}{
			{"a revision of what is not there", sort.one, `"77"`, "", 409, `"code":"conflict"`},
			{"create", sort.one, "", "*", 200, `"change":"created"`},
			{"create what is there", sort.two, "", "*", 409, `"code":"conflict"`},
			{"another revision", sort.two, `"77"`, "", 409, `"code":"conflict"`},
			{"the revision that was read", sort.two, "READ", "", 200, `"change":"configured"`},
			{"the same revision again", sort.one, "OLD", "", 409, `"code":"conflict"`},
			{"what is there already", sort.two, "READ", "", 200, `"change":"unchanged"`},
			{"in any case", sort.one, "", "", 200, `"change":"configured"`},
			{"no revision", sort.one, "latest", "", 422, "is not a revision"},
			{"another name", strings.Replace(sort.two, `"name":"a"`, `"name":"b"`, 1), "", "", 422, "the path says a"},
			{"an unknown field", `{"revision":7}`, "", "", 422, ""},
			{"a list", `[]`, "", "", 422, ""},
			{"no JSON", `name: a`, "", "", 422, ""},
		} {
			if sort.path == "calendars/a" && c.name == "an unknown field" {
				continue // a calendar's body is read as its own type, without being strict
			}
			match := c.match
			switch match {
			case "READ":
				_, header, _ := f.do("GET", path, "")
				if match = header.Get("ETag"); match == "" {
					t.Errorf("%s: %s: no ETag", sort.path, c.name)
				}
				read = match
			case "OLD":
				match = read
			}
			status, _, body := f.do("PUT", path, c.body, "Content-Type", "application/json", "If-Match", match, "If-None-Match", c.none)
			if status != c.status || !strings.Contains(body, c.want) {
				t.Errorf("%s: %s: %d %s\nwant %d and %s", sort.path, c.name, status, body, c.status, c.want)
			}
		}
	}
}

// The client's revision is the one that it read: of two who read the same, the second one's edit is refused.
func TestTheClientLosesNoEdit(t *testing.T) {
	t.Parallel()
	f := serve(t)
	c, ctx := f.client(), t.Context()
	_, err := c.ApplyFile(ctx, "d.yaml", []byte("templates: [{name: a, command: x}]\nreceivers: [{name: a, webhook: {url: 'https://example.com/'}}]\n"+
		"monitors: [{name: a, timer: '@daily'}]\ngroups: [{name: a}]\ntasks: [{name: a, command: x}]\n"), client.ApplyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.PutCalendar(ctx, job.Calendar{Name: "a", Ranges: []string{"2026-12-25"}}, 0); err != nil {
		t.Fatal(err)
	}
	// edit reads a document and gives what writes it with a description.
	for sort, edit := range map[string]func() (func(string) error, error){
		"template": func() (func(string) error, error) {
			e, err := c.Template(ctx, "a")
			return func(s string) error {
				e.Document.Description = s
				return errOf(c.PutTemplate(ctx, e.Document, e.Revision))
			}, err
		},
		"receiver": func() (func(string) error, error) {
			e, err := c.Receiver(ctx, "a")
			return func(s string) error {
				e.Document.Description = s
				return errOf(c.PutReceiver(ctx, e.Document, e.Revision))
			}, err
		},
		"monitor": func() (func(string) error, error) {
			e, err := c.Monitor(ctx, "a")
			return func(s string) error {
				e.Document.Description = s
				return errOf(c.PutMonitor(ctx, e.Document, e.Revision))
			}, err
		},
		"group": func() (func(string) error, error) {
			v, err := c.Group(ctx, "a")
			return func(s string) error {
				v.Document.Document.Description = s
				return errOf(c.PutGroup(ctx, v.Document.Document, v.Document.Revision))
			}, err
		},
		"calendar": func() (func(string) error, error) {
			v, err := c.Calendar(ctx, "a")
			return func(s string) error {
				v.Calendar.Description = s
				return errOf(c.PutCalendar(ctx, v.Calendar, v.Revision))
			}, err
		},
		"task": func() (func(string) error, error) {
			v, err := c.Task(ctx, job.Ref("", "a"))
			return func(s string) error { v.Task.Description = s; return errOf(c.PutTask(ctx, v.Task, v.Revision)) }, err
		},
	} {
		first, err1 := edit()
		second, err2 := edit()
		if err1 != nil || err2 != nil {
			t.Errorf("%s: %v, %v", sort, err1, err2)
			continue
		}
		if err := first("the first"); err != nil {
			t.Errorf("%s: the first edit: %v", sort, err)
		}
		if err := second("the second"); !job.IsConflict(err) {
			t.Errorf("%s: the second edit, of what the first has changed: %v", sort, err)
		}
		third, _ := edit()
		if err := third(fmt.Sprint("the third, of a ", sort)); err != nil {
			t.Errorf("%s: an edit of what is there: %v", sort, err)
		}
	}
}
