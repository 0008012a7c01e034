package store

import (
	"testing"
	"time"
)

// Whoever has proof that a master is dead need not wait for its leases.
func TestDeadMasterIsReplaced(t *testing.T) {
	backends(t, func(t *testing.T, fx *fixture) {
		ctx, dead := t.Context(), fx.client()
		term := campaign(t, dead, "m-1", time.Hour).Term()
		if _, err := dead.Announce(ctx, Master{ID: "m-1", Since: day}, time.Hour); err != nil {
			t.Fatal(err)
		}
		other := fx.client()
		if _, err := other.Announce(ctx, Master{ID: "m-2", Since: day}, time.Hour); err != nil {
			t.Fatal(err)
		}

		next := fx.client()
		for _, id := range []string{"m-2", "m-3", "m"} { // one that does not lead, and two that nobody knows
			if err := next.ReplaceMaster(ctx, id); err != nil {
				t.Fatal(err)
			}
		}
		if id, now, err := next.Leader(ctx); id != "m-1" || now != term || err != nil {
			t.Fatalf("%s leads since %d, %v", id, now, err)
		}
		if fx.read("masters/m-1") == nil || fx.read("masters/m-2") != nil {
			t.Error("another master was replaced than the one that was named")
		}
		if err := next.ReplaceMaster(ctx, "m-1"); err != nil {
			t.Fatal(err)
		}
		if fx.read("masters/m-1") != nil || fx.read(leaderKey) != nil {
			t.Error("what a dead master held still stands")
		}
		if l := campaign(t, next, "m-4", time.Hour); l.Term() <= term {
			t.Errorf("term %d after %d", l.Term(), term)
		}
		if err := next.ReplaceMaster(ctx, "../leader"); err == nil {
			t.Error("a name that is none was taken")
		}
	})
}
