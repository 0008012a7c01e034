package schedule

import (
	"fmt"
	"math/bits"
	"strings"
	"time"
)

// specialDay reads L, L-n, LW and nW.
func (f *fieldParser) specialDay(text string, from, to int) {
	switch {
	case text == "L":
		f.set.days.lastDom |= 1
	case text == "LW" || text == "WL":
		f.set.days.lastWeekday = true
	case strings.HasPrefix(text, "L-"):
		n, ok := number(text[2:])
		if !ok || n > 30 {
			f.fail(f.name, from+2, to-from-2, "0-30 days before the last", "")
			return
		}
		f.set.days.lastDom |= 1 << n
	case strings.HasSuffix(text, "W"):
		n, ok := number(text[:len(text)-1])
		if !ok || n < 1 || n > 31 {
			f.fail(f.name, from, to-from, "one day of the month and W, such as 15W, or LW", "")
			return
		}
		f.set.days.nearest |= 1 << n
	default:
		f.wrong(from, to, "")
	}
}

// specialWeekday reads 5L, FRIL, 1#2 and MON#2.
func (f *fieldParser) specialWeekday(text string, from, to int) {
	if text == "L" {
		f.wrong(from, to, "L needs a day: SATL is the last Saturday, SAT every Saturday")
		return
	}
	sharp := strings.IndexByte(text, '#')
	if sharp < 0 {
		if v, _, ok := f.value(from, to-1); ok {
			f.set.days.lastDow |= 1 << (v % 7)
		}
		return
	}
	v, _, ok := f.value(from, from+sharp)
	n, nth := number(text[sharp+1:])
	if !nth || n < 1 || n > 5 {
		f.fail(f.name, from+sharp+1, to-from-sharp-1, "the first to the fifth, #1 to #5", "the last is written L, as in FRIL")
		return
	}
	if ok {
		f.set.days.nth[n-1] |= 1 << (v % 7)
	}
}

// fields reads a timer of five, six or seven fields.
func (p *parser) fields(from, to int, loc *time.Location) rule {
	var starts, ends []int
	for pos := from; pos < to; {
		start := pos
		for pos < to && !blank(p.expr[pos]) {
			pos++
		}
		starts, ends = append(starts, start), append(ends, pos)
		for pos < to && blank(p.expr[pos]) {
			pos++
		}
	}
	count := len(starts)
	command := false
	for i := 5; i < count; i++ {
		field := p.expr[starts[i]:ends[i]]
		command = command || field[0] == '/' || strings.ContainsAny(field, `._$&|<>'"=%\{}[]!:`)
	}
	if count < 5 || count > 7 || command {
		p.wrongCount(from, to, count)
		return nil
	}
	sets := [7]set{fieldSecond: {bits: bitset{1}}}
	kind := fieldMinute
	if count > 5 {
		kind = fieldSecond
	}
	errs := len(p.errs)
	for i := range starts {
		sets[kind] = p.field(kind, starts[i], ends[i])
		kind++
	}
	if len(p.errs) > errs {
		return nil
	}
	c := compile(&sets, p.options.DST, loc)
	if _, ok := c.nextWall(minUnix - 1); !ok {
		day := 2 + count/6
		p.fail("day of month", starts[day], ends[day]-starts[day], "a day that its months have", c.impossible())
		return nil
	}
	return c
}

func (p *parser) wrongCount(from, to, count int) {
	const allowed = "5 fields (minute, hour, day of month, month, day of week), 6 with the second first, 7 with the year last"
	hint := ""
	switch word := strings.ToLower(p.expr[from:to]); {
	case count == 1:
		if near, ok := Near("@"+word, macroNames); ok {
			hint = "did you mean " + near + "?"
		}
	case count < 5:
		hint = fmt.Sprintf("this has %d", count)
	default:
		hint = fmt.Sprintf("this has %d; the command is not part of a timer", count)
	}
	p.fail("timer", from, to-from, allowed, hint)
}

// compile packs the fields. sets[fieldYear] is empty where there is no year.
func compile(sets *[7]set, dst DST, loc *time.Location) *cron {
	c := &cron{
		second: sets[fieldSecond].bits[0],
		minute: sets[fieldMinute].bits[0],
		hour:   uint32(sets[fieldHour].bits[0]),
		dom:    uint32(sets[fieldDom].bits[0]),
		month:  uint16(sets[fieldMonth].bits[0]),
		dow:    uint8(sets[fieldDow].bits[0]),
		dst:    dst,
		loc:    loc,
	}
	for kind, star := range map[fieldKind]stars{fieldMinute: starMinute, fieldHour: starHour, fieldDom: starDom, fieldDow: starDow} {
		if sets[kind].star {
			c.stars |= star
		}
	}
	x := sets[fieldDom].days
	x.lastDow, x.nth = sets[fieldDow].days.lastDow, sets[fieldDow].days.nth
	if years := sets[fieldYear].bits; years.count() <= lastYear-firstYear {
		x.years = years
	}
	if x != (extra{}) {
		c.extra = &x
	}
	return c
}

// impossible says why a timer is never due.
func (c *cron) impossible() string {
	if c.month == 1<<2 {
		if c.dom != 0 && bits.TrailingZeros32(c.dom) == 29 {
			return "none of the years given has a 29 February"
		}
		return "February has 29 days at most; its last is L"
	}
	return "April, June, September and November have 30 days, February 28 or 29; the last is L"
}
