package schedule

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// macros that stand for fields.
var macros = map[string]string{
	"@yearly":   "0 0 1 1 *",
	"@annually": "0 0 1 1 *",
	"@monthly":  "0 0 1 * *",
	"@weekly":   "0 0 * * 0",
	"@daily":    "0 0 * * *",
	"@midnight": "0 0 * * *",
	"@hourly":   "0 * * * *",
}

var macroNames = []string{"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly", "@every", "@at", "@reboot"}

func (p *parser) macro(from, to int, loc *time.Location) rule {
	end := from
	for end < to && !blank(p.expr[end]) {
		end++
	}
	rest := end
	for rest < to && blank(p.expr[rest]) {
		rest++
	}
	name := strings.ToLower(p.expr[from:end])
	switch name {
	case "@every":
		return p.every(rest, to)
	case "@at":
		return p.at(rest, to, loc)
	}
	fields, ok := macros[name]
	if !ok && name != "@reboot" {
		hint := ""
		if near, ok := Near(name, macroNames); ok {
			hint = "did you mean " + near + "?"
		}
		p.fail("timer", from, end-from, strings.Join(macroNames, ", "), hint)
		return nil
	}
	if rest < to {
		p.fail("timer", rest, to-rest, "nothing after "+name, "")
		return nil
	}
	if name == "@reboot" {
		return reboot{}
	}
	inner := parser{expr: fields}
	return inner.fields(0, len(fields), loc).(*cron).withPolicy(p.options.DST)
}

func (c *cron) withPolicy(dst DST) *cron {
	c.dst = dst
	return c
}

// every reads a duration such as 90s, 1h30m or 2d.
func (p *parser) every(from, to int) rule {
	const allowed = "a duration of whole seconds from 1s on, such as 90s, 1h30m or 2d"
	units := map[byte]int64{'s': 1, 'm': 60, 'h': 3600, 'd': secondsPerDay, 'w': 7 * secondsPerDay}
	const longest = math.MaxInt64 / int64(time.Second)

	text := p.expr[from:to]
	var total int64
	for rest := text; rest != ""; {
		digits := 0
		for digits < len(rest) && '0' <= rest[digits] && rest[digits] <= '9' {
			digits++
		}
		n, ok := number(rest[:digits])
		if !ok || digits == len(rest) || units[rest[digits]] == 0 || strings.HasPrefix(rest[digits:], "ms") {
			hint := ""
			if digits == len(rest) && digits > 0 {
				hint = "give the unit: " + clip(text) + "s"
			}
			p.fail("@every", from, to-from, allowed, hint)
			return nil
		}
		unit := units[rest[digits]]
		if int64(n) > (longest-total)/unit {
			p.fail("@every", from, to-from, allowed, "")
			return nil
		}
		total += int64(n) * unit
		rest = rest[digits+1:]
	}
	if total == 0 {
		p.fail("@every", from, to-from, allowed, "")
		return nil
	}
	return newEvery(time.Duration(total)*time.Second, p.options.Anchor)
}

// at reads times parted by commas.
func (p *parser) at(from, to int, loc *time.Location) rule {
	const allowed = "times such as 2026-12-01T10:00:00Z or, in the timer's zone, 2026-12-01T10:00"
	errs := len(p.errs)
	var list instants
	for pos := from; pos <= to; {
		length := strings.IndexByte(p.expr[pos:to], ',')
		if length < 0 {
			length = to - pos
		}
		a, b := p.trim(pos, pos+length)
		pos += length + 1
		m, ok := parseMoment(p.expr[a:b])
		switch {
		case !ok:
			p.fail("@at", a, b-a, allowed, "")
		case m.kind == absolute:
			list = append(list, m.seconds)
		default:
			due := occurrences(loc, m.seconds, p.options.DST)
			if len(due) == 0 {
				p.fail("@at", a, b-a, "a time that exists in "+loc.String(), "the clock skips it")
			}
			list = append(list, due...)
		}
	}
	slices.Sort(list)
	list = slices.Compact(list)
	if len(list) > maxInstants {
		p.fail("@at", from, to-from, fmt.Sprintf("at most %d times", maxInstants), "")
	}
	if len(p.errs) > errs {
		return nil
	}
	if list[0] < minUnix || list[len(list)-1] > maxUnix {
		p.fail("@at", from, to-from, "the years 1 to 9999, UTC", "")
	}
	return slices.Clip(list)
}

// number reads up to nine digits.
func number(digits string) (int, bool) {
	if len(digits) == 0 || len(digits) > 9 {
		return 0, false
	}
	n := 0
	for i := range len(digits) {
		if digits[i] < '0' || digits[i] > '9' {
			return 0, false
		}
		n = n*10 + int(digits[i]-'0')
	}
	return n, true
}
