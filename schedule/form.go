package schedule

import (
	"strconv"
	"strings"
	"time"
)

// String gives the normal form: what was drawn for H and ~ is written out, names are numbers, fields that say nothing are left
// out. Parsed with the same options it gives an equal schedule. The window is not part of it.
func (s *Schedule) String() string {
	rules := s.rules()
	forms := make([]string, len(rules))
	for i, r := range rules {
		forms[i] = s.form(r)
	}
	return strings.Join(forms, "; ")
}

func (s *Schedule) form(r rule) string {
	loc := s.loc
	if c, ok := r.(*cron); ok {
		loc = c.loc
	}
	prefix := ""
	if loc != s.base {
		prefix = "CRON_TZ=" + loc.String() + " "
	}
	return prefix + form(r)
}

func form(r rule) string {
	switch r := r.(type) {
	case *cron:
		return r.form()
	case *every:
		return "@every " + duration(r.period)
	case instants:
		list := make([]string, len(r))
		for i, u := range r {
			list[i] = time.Unix(u, 0).UTC().Format(time.RFC3339)
		}
		return "@at " + strings.Join(list, ",")
	}
	return "@reboot"
}

// duration writes seconds as 1d2h3m4s without the parts that are zero.
func duration(seconds int64) string {
	var b strings.Builder
	for _, unit := range [...]struct {
		name string
		size int64
	}{{"d", secondsPerDay}, {"h", 3600}, {"m", 60}, {"s", 1}} {
		if n := seconds / unit.size; n > 0 {
			b.WriteString(strconv.FormatInt(n, 10) + unit.name)
			seconds -= n * unit.size
		}
	}
	return b.String()
}

// set gives back a field as it was parsed; the year's is empty where there is none.
func (c *cron) set(kind fieldKind) set {
	switch kind {
	case fieldSecond:
		return set{bits: bitset{c.second}}
	case fieldMinute:
		return set{bits: bitset{c.minute}, star: c.stars&starMinute != 0}
	case fieldHour:
		return set{bits: bitset{uint64(c.hour)}, star: c.stars&starHour != 0}
	case fieldDom:
		return set{bits: bitset{uint64(c.dom)}, star: c.stars&starDom != 0}
	case fieldMonth:
		return set{bits: bitset{uint64(c.month)}}
	case fieldDow:
		return set{bits: bitset{uint64(c.dow)}, star: c.stars&starDow != 0}
	}
	if c.extra == nil {
		return set{}
	}
	return set{bits: c.extra.years}
}

func (c *cron) form() string {
	var parts []string
	if c.second != 1 || c.hasYears() {
		parts = append(parts, c.fieldForm(fieldSecond))
	}
	for kind := fieldMinute; kind <= fieldDow; kind++ {
		parts = append(parts, c.fieldForm(kind))
	}
	if c.hasYears() {
		parts = append(parts, c.fieldForm(fieldYear))
	}
	return strings.Join(parts, " ")
}

func (c *cron) hasYears() bool { return c.extra != nil && !c.extra.years.empty() }

func (c *cron) fieldForm(kind fieldKind) string {
	f, s := &fields[kind], c.set(kind)
	values := s.bits.values()
	if kind == fieldYear {
		for i := range values {
			values[i] += firstYear
		}
	}
	// Only where cron tells * from a full range apart does the difference stand.
	telling := kind == fieldMinute || kind == fieldHour || kind == fieldDom || kind == fieldDow
	var items []string
	switch full := len(values) == f.last()-f.min+1; {
	case full && (s.star || !telling):
		items = append(items, "*")
	case s.star:
		step, rest := starStep(values, f)
		items = append([]string{"*/" + strconv.Itoa(step)}, runs(rest)...)
	case !telling && kind != fieldYear && len(values) > 1 && wholeSteps(values, f):
		items = append(items, "*/"+strconv.Itoa(values[1]-values[0]))
	default:
		items = runs(values)
	}
	if x := c.extra; x != nil && kind == fieldDom {
		items = append(items, x.dayForms()...)
	} else if x != nil && kind == fieldDow {
		items = append(items, x.weekdayForms()...)
	}
	return strings.Join(items, ",")
}

// wholeSteps tells whether values are what a * with a step means.
func wholeSteps(values []int, f *field) bool {
	step, even := progression(values)
	return even && step > 1 && values[0] == f.min && values[len(values)-1]+step > f.last()
}

// starStep finds the smallest step whose multiples are all among values, and what they leave. There is one, because the
// field started with a *.
func starStep(values []int, f *field) (int, []int) {
	var have bitset
	for _, v := range values {
		have.add(v - f.min)
	}
	size := f.last() - f.min + 1
	step := 1
search:
	for ; step < size; step++ {
		for v := 0; v < size; v += step {
			if !have.has(v) {
				continue search
			}
		}
		break
	}
	var rest []int
	for _, v := range values {
		if (v-f.min)%step != 0 {
			rest = append(rest, v)
		}
	}
	return step, rest
}

// runs writes ascending values as ranges, or as one range with a step if they are all evenly apart.
func runs(values []int) []string {
	if n := len(values); n >= 3 {
		step := values[1] - values[0]
		even := true
		for i := 2; i < n; i++ {
			even = even && values[i]-values[i-1] == step
		}
		if even && step > 1 {
			return []string{strconv.Itoa(values[0]) + "-" + strconv.Itoa(values[n-1]) + "/" + strconv.Itoa(step)}
		}
	}
	var items []string
	for i := 0; i < len(values); {
		j := i
		for j+1 < len(values) && values[j+1] == values[j]+1 {
			j++
		}
		switch {
		case j == i:
			items = append(items, strconv.Itoa(values[i]))
		case j == i+1:
			items = append(items, strconv.Itoa(values[i]), strconv.Itoa(values[j]))
		default:
			items = append(items, strconv.Itoa(values[i])+"-"+strconv.Itoa(values[j]))
		}
		i = j + 1
	}
	return items
}

func (x *extra) dayForms() []string {
	var items []string
	for n := range 32 {
		if x.nearest>>n&1 != 0 {
			items = append(items, strconv.Itoa(n)+"W")
		}
	}
	for n := 31; n >= 0; n-- {
		switch {
		case x.lastDom>>n&1 == 0:
		case n == 0:
			items = append(items, "L")
		default:
			items = append(items, "L-"+strconv.Itoa(n))
		}
	}
	if x.lastWeekday {
		items = append(items, "LW")
	}
	return items
}

func (x *extra) weekdayForms() []string {
	var items []string
	for n, dow := range x.nth {
		for w := range 7 {
			if dow>>w&1 != 0 {
				items = append(items, strconv.Itoa(w)+"#"+strconv.Itoa(n+1))
			}
		}
	}
	for w := range 7 {
		if x.lastDow>>w&1 != 0 {
			items = append(items, strconv.Itoa(w)+"L")
		}
	}
	return items
}
