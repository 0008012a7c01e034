package app

import (
	"runtime"
	"testing"
	"time"
)

// An alarm tells no sooner than it should, also at once and for what is over already, by the latest time alone, and leaves nothing behind.
func TestAlarm(t *testing.T) {
	before := runtime.NumGoroutine()
	a, err := newAlarm()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []time.Duration{30 * time.Millisecond, time.Microsecond, 0, -time.Second, 10 * time.Millisecond} {
		began := time.Now()
		a.Reset(time.Hour)
		a.Reset(d)
		select {
		case <-a.C():
			if took := time.Since(began); took < d {
				t.Errorf("%s is over after %s", d, took)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%s is not over after a minute", d)
		}
	}
	a.Reset(10 * time.Millisecond)
	a.Reset(time.Hour)
	select {
	case <-a.C():
		t.Error("a time that was replaced is over")
	case <-time.After(50 * time.Millisecond):
	}
	a.Stop()
	a.Reset(time.Millisecond) // which does nothing
	for began := time.Now(); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
		if time.Since(began) > time.Minute {
			t.Fatal("it goes on after its stop")
		}
	}
}
