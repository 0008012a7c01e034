package schedule_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rota-dev/rota/schedule"
)

// spec is a timer written down twice: as values, for the oracle, and as text, for the parser. It knows plain fields only.
type spec struct {
	expr                          string
	second, minute, hour          map[int]bool
	dom, month, dow               map[int]bool
	starMinute, starHour, starDay bool
}

func (s *spec) wild() bool { return s.starMinute || s.starHour }

// due tells whether the timer is due when a clock shows w.
func (s *spec) due(w time.Time) bool {
	if !s.second[w.Second()] || !s.minute[w.Minute()] || !s.hour[w.Hour()] || !s.month[int(w.Month())] {
		return false
	}
	dom, dow := s.dom[w.Day()], s.dow[int(w.Weekday())]
	if s.starDay {
		return dom && dow
	}
	return dom || dow
}

// newSpec reads items that are "*", "*/n" or numbers parted by commas.
func newSpec(second, minute, hour, dom, month, dow string) *spec {
	s := &spec{
		second: values(second, 0, 59), minute: values(minute, 0, 59), hour: values(hour, 0, 23),
		dom: values(dom, 1, 31), month: values(month, 1, 12), dow: values(dow, 0, 6),
		starMinute: minute[0] == '*', starHour: hour[0] == '*', starDay: dom[0] == '*' || dow[0] == '*',
	}
	s.expr = strings.Join([]string{second, minute, hour, dom, month, dow}, " ")
	return s
}

func values(text string, low, high int) map[int]bool {
	set := map[int]bool{}
	for item := range strings.SplitSeq(text, ",") {
		if rest, star := strings.CutPrefix(item, "*"); star {
			step := 1
			if rest != "" {
				step, _ = strconv.Atoi(rest[1:])
			}
			for v := low; v <= high; v += step {
				set[v] = true
			}
			continue
		}
		v, err := strconv.Atoi(item)
		if err != nil {
			panic(err)
		}
		set[v] = true
	}
	return set
}

// cronie walks real time from one instant to another in steps and notes when the timer is due, by the rules of cronie's main
// loop: a virtual clock that never goes back, catches up when the clock jumps ahead, and is set anew by a change
// of more than three hours. (In cronie exactly three hours ahead are such a change as well, three back are not.)
func cronie(s *spec, loc *time.Location, dst schedule.DST, from, to, step int64) []int64 {
	offset := func(u int64) int64 {
		_, o := time.Unix(u, 0).In(loc).Zone()
		return int64(o)
	}
	due := func(tick int64) bool { return s.due(time.Unix(tick*step, 0).UTC()) }
	limit := 3 * 3600 / step

	var fired []int64
	virtual := (from+offset(from))/step - 1
	for t := from; t < to; t += step {
		tick := (t + offset(t)) / step
		fire := false
		switch jump := tick - virtual - 1; {
		case jump == 0 || jump > limit || jump < -limit:
			fire = due(tick)
			virtual = tick
		case jump > 0:
			if s.wild() || dst.Gap == schedule.GapSkip {
				fire = due(tick)
			} else {
				for v := virtual + 1; v <= tick; v++ {
					fire = fire || due(v)
				}
			}
			virtual = tick
		default:
			fire = due(tick) && (s.wild() || dst.Overlap == schedule.OverlapTwice)
		}
		if fire {
			fired = append(fired, t)
		}
	}
	return fired
}

// check compares a schedule with what the oracle found from one instant to another.
func check(t *testing.T, s *spec, loc *time.Location, dst schedule.DST, from, to int64, want []int64) {
	t.Helper()
	name := fmt.Sprintf("%s in %s, gap %v, overlap %v", s.expr, loc, dst.Gap, dst.Overlap)
	sched, err := schedule.Parse(s.expr, schedule.Options{Location: loc, DST: dst})
	if err != nil && len(want) == 0 {
		return // drawn 31 June
	}
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	var ahead, back []int64
	for at := range sched.Each(time.Unix(from-1, 0), time.Unix(to-1, 0)) {
		ahead = append(ahead, at.Unix())
	}
	for at := sched.Prev(time.Unix(to, 0)); !at.IsZero() && at.Unix() >= from; at = sched.Prev(at) {
		back = append(back, at.Unix())
	}
	slices.Reverse(back)
	if !slices.Equal(ahead, want) {
		t.Errorf("%s\nNext %v\nwant %v", name, show(ahead, want, loc), show(want, ahead, loc))
	}
	if !slices.Equal(back, want) {
		t.Errorf("%s\nPrev %v\nwant %v", name, show(back, want, loc), show(want, back, loc))
	}
}

// show writes the instants that are in one list only.
func show(list, other []int64, loc *time.Location) []string {
	var only []string
	for _, u := range list {
		if !slices.Contains(other, u) && len(only) < 8 {
			only = append(only, time.Unix(u, 0).In(loc).Format("2006-01-02T15:04:05-07:00"))
		}
	}
	return only
}

// transitions gives the instants in [from, to) at which a zone's offset changes.
func transitions(loc *time.Location, from, to time.Time) []int64 {
	var list []int64
	offset := func(u int64) int {
		_, o := time.Unix(u, 0).In(loc).Zone()
		return o
	}
	const stride = 6 * 3600
	for u := from.Unix(); u < to.Unix(); u += stride {
		if offset(u) == offset(u+stride) {
			continue
		}
		low, high := u, u+stride
		for high-low > 1 {
			if mid := (low + high) / 2; offset(mid) == offset(u) {
				low = mid
			} else {
				high = mid
			}
		}
		list = append(list, high)
	}
	return list
}

// nearby draws timers that are due around a transition.
func nearby(r *rand.Rand, loc *time.Location, at int64, seconds bool) *spec {
	before := time.Unix(at-1, 0).In(loc)
	after := time.Unix(at, 0).In(loc)
	hour := func() string {
		h := []time.Time{before, after}[r.IntN(2)].Hour() + r.IntN(5) - 2
		return strconv.Itoa((h + 24) % 24)
	}
	pick := func(options ...string) string { return options[r.IntN(len(options))] }
	second := "0"
	if seconds {
		second = pick("0", "*", "*/7", "59", "0,1,30", "13")
	}
	minute := pick("0", "30", "59", "*", "*/15", "*/7", "5,35", "0,1,59", strconv.Itoa(r.IntN(60)))
	hours := pick("*", "*/2", hour(), hour(), hour(), hour()+","+hour(), "0", "23")
	dom := pick("*", "*", "*", strconv.Itoa(after.Day()), strconv.Itoa(before.Day()), "*/2")
	dow := pick("*", "*", "*", "0", "6", "0,1", "*/2")
	return newSpec(second, minute, hours, dom, pick("*", "*", strconv.Itoa(int(after.Month()))), dow)
}

func policy(r *rand.Rand) schedule.DST {
	if r.IntN(2) == 0 {
		return schedule.DST{}
	}
	return schedule.DST{Gap: schedule.Gap(r.IntN(2)), Overlap: schedule.Overlap(r.IntN(2))}
}

// long runs everything; by default a sample is enough.
var long = os.Getenv("ROTA_LONG") != ""

// ancestor 28
func TestAgainstCronieAroundEveryTransition(t *testing.T) {
	t.Parallel()
	from, to, timers := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2028, 1, 1, 0, 0, 0, 0, time.UTC), 2
	if long {
		from, to, timers = time.Date(1920, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2045, 1, 1, 0, 0, 0, 0, time.UTC), 4
	}
	aroundTransitions(t, schedule.ZoneNames(), from, to, timers)
}

// The zones whose clocks did the strangest things, over all of their modern history.
func TestAgainstCronieInStrangeZones(t *testing.T) {
	t.Parallel()
	strange := []string{
		"Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Beirut", "Africa/Cairo", "Pacific/Apia", "Pacific/Kwajalein",
		"Antarctica/Troll", "Antarctica/Casey", "America/St_Johns", "America/Havana", "Africa/Casablanca", "Asia/Gaza",
		"Asia/Pyongyang", "America/Caracas", "Asia/Kathmandu", "Europe/Dublin", "Europe/Volgograd", "Asia/Tehran",
		"Pacific/Kiritimati", "Africa/Monrovia", "America/Scoresbysund", "Europe/Lisbon", "America/Juneau", "Asia/Manila",
	}
	aroundTransitions(t, strange, time.Date(1940, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC), 2)
}

func aroundTransitions(t *testing.T, names []string, from, to time.Time, timers int) {
	t.Helper()
	const hour = 3600
	for _, name := range names {
		loc, err := schedule.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		r := rand.New(rand.NewPCG(28, uint64(len(name))<<8|uint64(name[len(name)-1])))
		for _, at := range transitions(loc, from, to) {
			for range timers {
				s, dst := nearby(r, loc, at, false), policy(r)
				if at%60 != 0 || !wholeMinutes(loc, at-30*hour, at-1, at) {
					continue // the second-by-second test has these
				}
				fired := cronie(s, loc, dst, at-30*hour, at+30*hour, 60)
				fired = slices.DeleteFunc(fired, func(u int64) bool { return u < at-24*hour })
				check(t, s, loc, dst, at-24*hour, at+30*hour, fired)
			}
		}
		if t.Failed() {
			return
		}
	}
}

// wholeMinutes tells whether a clock's minutes are those of UTC.
func wholeMinutes(loc *time.Location, at ...int64) bool {
	return !slices.ContainsFunc(at, func(u int64) bool { return time.Unix(u, 0).In(loc).Second() != int(u%60+60)%60 })
}

func TestAgainstCronieSecondBySecond(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 1))
	from, step := time.Date(1850, 1, 1, 0, 0, 0, 0, time.UTC), 12
	if long {
		step = 1
	}
	names := schedule.ZoneNames()
	for i := r.IntN(step); i < len(names); i += step {
		loc, err := schedule.LoadLocation(names[i])
		if err != nil {
			t.Fatal(err)
		}
		all := transitions(loc, from, time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC))
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		for _, at := range all[:min(len(all), 4)] {
			s, dst := nearby(r, loc, at, true), policy(r)
			fired := cronie(s, loc, dst, at-8*3600, at+5*3600, 1)
			fired = slices.DeleteFunc(fired, func(u int64) bool { return u < at-4*3600 })
			check(t, s, loc, dst, at-4*3600, at+5*3600, fired)
		}
		if t.Failed() {
			return
		}
	}
}
