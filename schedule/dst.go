package schedule

import "fmt"

// DST says what a fixed timer does when clocks change. The zero value is what cronie does. Wildcard timers, those whose
// minute or hour starts with *, follow the wall clock whatever it says.
type DST struct {
	Gap     Gap     `json:"gap,omitempty" yaml:"gap,omitempty"`
	Overlap Overlap `json:"overlap,omitempty" yaml:"overlap,omitempty"`
}

// Gap says what becomes of readings that the clock jumps over.
type Gap uint8

const (
	GapRun  Gap = iota // one run at the end of the gap, however many readings fell into it
	GapSkip            // no run
)

// Overlap says what becomes of readings that the clock shows twice.
type Overlap uint8

const (
	OverlapOnce  Overlap = iota // a run the first time
	OverlapTwice                // a run each time
)

func (g Gap) String() string {
	if g == GapSkip {
		return "skip"
	}
	return "run"
}

func (o Overlap) String() string {
	if o == OverlapTwice {
		return "twice"
	}
	return "once"
}

func (g Gap) MarshalText() ([]byte, error) {
	if g > GapSkip {
		return nil, fmt.Errorf("dst gap %d: unknown", uint8(g))
	}
	return []byte(g.String()), nil
}

func (o Overlap) MarshalText() ([]byte, error) {
	if o > OverlapTwice {
		return nil, fmt.Errorf("dst overlap %d: unknown", uint8(o))
	}
	return []byte(o.String()), nil
}

func (g *Gap) UnmarshalText(text []byte) error {
	switch string(text) {
	case "run", "":
		*g = GapRun
	case "skip":
		*g = GapSkip
	default:
		return fmt.Errorf("dst gap %q: must be run or skip", clip(string(text)))
	}
	return nil
}

func (o *Overlap) UnmarshalText(text []byte) error {
	switch string(text) {
	case "once", "":
		*o = OverlapOnce
	case "twice":
		*o = OverlapTwice
	default:
		return fmt.Errorf("dst overlap %q: must be once or twice", clip(string(text)))
	}
	return nil
}
