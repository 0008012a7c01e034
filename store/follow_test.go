package store

import (
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
)

// What a master asks of nodes stands under its name's lease: a node sees its own alone, it can be asked again and taken back, and it
// goes with the master.
func TestWhatAMasterAsksOfNodes(t *testing.T) {
	backends(t, func(t *testing.T, fx *fixture) {
		ctx, s := t.Context(), fx.client()
		a, err := s.Announce(ctx, Master{ID: "m1", Since: day}, 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		seen := fx.client().Follows().Watch(ctx, "n1").Events()
		f := &job.Follow{ID: "f1", Node: "n1", Run: "r1", Master: "m1", URLs: []string{"http://m1:7682"}, Token: "secret"}
		other := &job.Follow{ID: "f2", Node: "n10", Run: "r2", Master: "m1"}
		for range 2 {
			for _, f := range []*job.Follow{f, other} {
				if err := a.Follow(ctx, f); err != nil {
					t.Fatal(err)
				}
			}
		}
		for found := false; !found; {
			for _, e := range <-seen {
				if e.Type == Put && e.Value.ID != "f1" {
					t.Fatalf("node n1 sees %+v", e.Value)
				}
				found = found || e.Type == Put && e.Value.Run == "r1" && e.Value.Token == "secret"
			}
		}
		for range 2 {
			if err := a.Unfollow(ctx, f); err != nil {
				t.Fatal(err)
			}
		}
		if n := must(s.Follows().Count(ctx)); n != 1 {
			t.Errorf("%d are left", n)
		}
		if err := a.Follow(ctx, &job.Follow{ID: "../tokens/x", Node: "n1"}); job.CodeOf(err) != job.CodeInvalid {
			t.Errorf("a name that is none was taken: %v", err)
		}
		if err := a.Close(ctx); err != nil {
			t.Fatal(err)
		}
		if n := must(s.Follows().Count(ctx)); n != 0 {
			t.Errorf("%d outlive the master", n)
		}
	})
}

// A master whose lease was lost is told so, and what it asks again stands again.
func TestWhatAMasterAskedIsLostWithItsLease(t *testing.T) {
	backends(t, func(t *testing.T, fx *fixture) {
		ctx, s := t.Context(), fx.client()
		a, err := s.Announce(ctx, Master{ID: "m1", Since: day}, 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		f := &job.Follow{ID: "f1", Node: "n1", Run: "r1", Master: "m1"}
		if err := a.Follow(ctx, f); err != nil {
			t.Fatal(err)
		}
		if err := fx.client().revoke(ctx, a.t.current().id); err != nil {
			t.Fatal(err)
		}
		<-a.Lost()
		if n := must(s.Follows().Count(ctx)); n != 0 {
			t.Errorf("%d stand under a lease that was lost", n)
		}
		if err := a.Follow(ctx, f); err != nil {
			t.Fatal(err)
		}
		if n := must(s.Follows().Count(ctx)); n != 1 {
			t.Errorf("%d stand", n)
		}
	})
}
