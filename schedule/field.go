package schedule

import (
	"fmt"
	"strconv"
	"strings"
)

// A fieldKind numbers the fields in the order of the longest form.
type fieldKind int

const (
	fieldSecond fieldKind = iota
	fieldMinute
	fieldHour
	fieldDom
	fieldMonth
	fieldDow
	fieldYear
)

// A field describes the values of one field of a timer.
type field struct {
	name     string
	min, max int
	names    []string // for the values from min on
	allowed  string
}

var weekdays = []string{"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"}

var fields = [...]field{
	fieldSecond: {"second", 0, 59, nil, "0-59, * ranges, steps and lists"},
	fieldMinute: {"minute", 0, 59, nil, "0-59, * ranges, steps and lists"},
	fieldHour:   {"hour", 0, 23, nil, "0-23, * ranges, steps and lists"},
	fieldDom:    {"day of month", 1, 31, nil, "1-31, * ? ranges, steps and lists, L, L-3, LW, 15W"},
	fieldMonth: {"month", 1, 12, []string{"JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"},
		"1-12 or JAN-DEC, * ranges, steps and lists"},
	fieldDow:  {"day of week", 0, 7, weekdays, "0-7 or SUN-SAT, * ? ranges, steps and lists, FRIL, MON#2"},
	fieldYear: {"year", firstYear, lastYear, nil, fmt.Sprintf("%d-%d, * ranges, steps and lists", firstYear, lastYear)},
}

// last is the highest value a * stands for; 7 is only another Sunday.
func (f *field) last() int {
	if f.max == 7 {
		return 6
	}
	return f.max
}

// label writes a value as it was written: by name if the field has names and named is set.
func (f *field) label(v int, named bool) string {
	if named && f.names != nil {
		return f.names[(v-f.min)%len(f.names)]
	}
	return strconv.Itoa(v)
}

// A set is what one field means.
type set struct {
	bits bitset // the year's count from firstYear, all others from 0
	star bool   // starts with *
	days extra  // the special days of both day fields
}

// A fieldParser reads one field of an expression.
type fieldParser struct {
	*parser
	*field
	kind fieldKind
	set  set
}

func (p *parser) field(kind fieldKind, from, to int) set {
	f := fieldParser{parser: p, field: &fields[kind], kind: kind}
	f.set.star = p.expr[from] == '*'
	item := 0
	for pos := from; pos <= to; item++ {
		length := strings.IndexByte(p.expr[pos:to], ',')
		if length < 0 {
			length = to - pos
		}
		if f.item(pos, pos+length, item) && from+length < to {
			f.wrong(pos, pos+length, "? stands alone in its field")
		}
		pos += length + 1
	}
	if kind == fieldDow && f.set.bits.has(7) {
		f.set.bits.add(0)
		f.set.bits[0] &^= 1 << 7
	}
	return f.set
}

// upper raises ASCII letters only, so that bytes keep their places.
func upper(s string) string {
	raised := []byte(s)
	for i, b := range raised {
		if 'a' <= b && b <= 'z' {
			raised[i] = b - 'a' + 'A'
		}
	}
	return string(raised)
}

func (f *fieldParser) wrong(from, to int, hint string) {
	f.fail(f.name, from, to-from, f.allowed, hint)
}

// item reads one item of a list and tells whether it is a question mark.
func (f *fieldParser) item(from, to, n int) bool {
	text := upper(f.expr[from:to])
	switch {
	case text == "":
		f.wrong(from, to, "a list has no empty items")
	case text == "?" && (f.kind == fieldDom || f.kind == fieldDow):
		f.set.star = true
		f.fill(f.min, f.last(), 1)
		return true
	case text[0] == '*':
		if step, ok := f.step(from+1, to); ok {
			f.fill(f.min, f.last(), step)
		}
	case text[0] == 'H' && (len(text) == 1 || text[1] == '(' || text[1] == '/'):
		f.hashed(from, to)
	case strings.Contains(text, "~"):
		f.random(from, to, n)
	case f.kind == fieldDom && strings.ContainsAny(text, "LW"):
		f.specialDay(text, from, to)
	case f.kind == fieldDow && (strings.HasSuffix(text, "L") || strings.Contains(text, "#")):
		f.specialWeekday(text, from, to)
	default:
		f.span(from, to)
	}
	return false
}

// fill adds every step-th value from low to high.
func (f *fieldParser) fill(low, high, step int) {
	base := 0
	if f.kind == fieldYear {
		base = firstYear
	}
	for v := low; v <= high; v += step {
		f.set.bits.add(v - base)
	}
}

// step reads "/n"; nothing is a step of 1.
func (f *fieldParser) step(from, to int) (int, bool) {
	if from == to {
		return 1, true
	}
	allowed := "a step from 1 on, such as /5"
	if f.expr[from] != '/' {
		f.wrong(from, to, "")
		return 0, false
	}
	n, ok := number(f.expr[from+1 : to])
	if !ok || n == 0 {
		hint := ""
		if ok {
			hint = "a step of 0 never moves on"
		}
		f.fail(f.name, from+1, to-from-1, allowed, hint)
		return 0, false
	}
	return n, true
}

// value reads a number or a name that fills expr[from:to].
func (f *fieldParser) value(from, to int) (v int, named, ok bool) {
	text := f.expr[from:to]
	if n, ok := number(text); ok {
		if n < f.min || n > f.max {
			f.wrong(from, to, f.rangeHint(n))
			return 0, false, false
		}
		return n, false, true
	}
	for i, name := range f.names {
		if name == upper(text) {
			return f.min + i, true, true
		}
	}
	hint := ""
	if f.names != nil {
		near, ok := Near(text, f.names)
		if !ok && len(text) > 3 { // MONDAY
			near, ok = Near(text[:3], f.names)
		}
		if ok {
			hint = "did you mean " + near + "?"
		}
	}
	f.wrong(from, to, hint)
	return 0, false, false
}

// rangeHint helps with numbers that are just outside of a field.
func (f *fieldParser) rangeHint(n int) string {
	switch {
	case n == 60 && f.max == 59:
		return "the full " + map[fieldKind]string{fieldSecond: "minute", fieldMinute: "hour"}[f.kind] + " is 0"
	case n == 24 && f.kind == fieldHour:
		return "midnight is 0"
	case n == 0 && f.kind == fieldDom:
		return "the first day is 1, the last is L"
	case n == 0 && f.kind == fieldMonth:
		return "January is 1"
	}
	return ""
}

// span reads "a", "a-b", "a/n" or "a-b/n".
func (f *fieldParser) span(from, to int) {
	end := to
	if i := strings.IndexByte(f.expr[from:to], '/'); i >= 0 {
		end = from + i
	}
	step, stepOK := f.step(end, to)
	dash := strings.IndexByte(f.expr[from:end], '-')
	if dash < 0 {
		v, _, ok := f.value(from, end)
		if !ok || !stepOK {
			return
		}
		high := v
		if end < to {
			high = max(v, f.last())
		}
		f.fill(v, high, step)
		return
	}
	if dash == 0 || from+dash+1 == end {
		f.wrong(from, to, "a range has two ends, such as "+f.label(f.min, false)+"-"+f.label(f.last(), false))
		return
	}
	low, named, lowOK := f.value(from, from+dash)
	high, _, highOK := f.value(from+dash+1, end)
	if !lowOK || !highOK || !stepOK {
		return
	}
	if f.kind == fieldDow && high == 0 && low > 0 && upper(f.expr[from+dash+1:end]) == "SUN" {
		high = 7 // FRI-SUN
	}
	if low > high {
		f.fail(f.name, from, to-from, "a range that does not wrap around", f.unwrapped(low, high, step, named))
		return
	}
	f.fill(low, high, step)
}

// unwrapped writes a wrap-around range as a list.
func (f *fieldParser) unwrapped(low, high, step int, named bool) string {
	if f.kind == fieldYear {
		return fmt.Sprintf("write %d-%d", high, low)
	}
	suffix := ""
	if step > 1 {
		suffix = "/" + strconv.Itoa(step)
	}
	run := func(a, b int) string {
		if b-a < step {
			return f.label(a, named)
		}
		return f.label(a, named) + "-" + f.label(b, named) + suffix
	}
	text := "write " + run(low, f.last())
	size := f.last() - f.min + 1
	if again := low + (f.last()-low)/step*step + step - size; again <= high {
		text += "," + run(again, high)
	}
	return text
}
