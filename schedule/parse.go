package schedule

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// MaxTimer is the longest timer that is read, in bytes, MaxTimers the most timers one rule may have, and maxInstants
	// the most times an @at may list: its normal form must not be longer than MaxTimer.
	MaxTimer    = 4096
	MaxTimers   = 64
	maxInstants = 180
)

// Parse reads a rule: one timer, or several, parted by semicolons or line breaks, that are due whenever one of
// them is. A fault of the text is a *ParseError, several are ParseErrors; Errors lists them.
func Parse(expr string, o Options) (*Schedule, error) {
	return ParseAll([]string{expr}, o)
}

// ParseAll reads several rules as one that is due whenever one of them is.
func ParseAll(exprs []string, o Options) (*Schedule, error) {
	if o.Location == nil {
		o.Location = time.UTC
	}
	if o.DST.Gap > GapSkip || o.DST.Overlap > OverlapTwice {
		return nil, fmt.Errorf("daylight-saving policy %d, %d: unknown", o.DST.Gap, o.DST.Overlap)
	}
	var timers []timer
	var errs ParseErrors
	for i, expr := range exprs {
		p := parser{options: o, expr: expr, index: i}
		p.parse(MaxTimers - len(timers))
		timers = append(timers, p.timers...)
		errs = append(errs, p.errs...)
	}
	if len(exprs) == 0 {
		errs = append(errs, &ParseError{Field: "timer", Allowed: "at least one timer"})
	}
	if err := errs.err(); err != nil {
		return nil, err
	}
	return build(timers, o)
}

// A timer is a rule and the zone it was written for.
type timer struct {
	rule rule
	loc  *time.Location
}

// build joins timers to a schedule. Timers that are the same are kept once.
func build(timers []timer, o Options) (*Schedule, error) {
	s := &Schedule{loc: timers[0].loc, base: o.Location, dst: o.DST}
	for _, t := range timers {
		if t.loc != s.loc {
			s.loc = s.base
		}
	}
	var rules union
	var seen []string
	for _, t := range timers {
		form := s.form(t.rule)
		if !slices.Contains(seen, form) {
			seen = append(seen, form)
			rules = append(rules, t.rule)
		}
	}
	s.rule = slices.Clip(rules)
	if len(rules) == 1 {
		s.rule = rules[0]
	}
	var err error
	s.window, err = o.Window.resolve(s.loc)
	return s, err
}

// A parser reads one expression and collects everything that is wrong with it.
type parser struct {
	options Options
	expr    string
	index   int
	timers  []timer
	errs    ParseErrors
}

func (p *parser) fail(field string, pos, length int, allowed, hint string) {
	p.errs = append(p.errs, &ParseError{
		Index: p.index, Expr: p.expr, Field: field, Pos: pos, Len: length,
		Found: clip(p.expr[pos : pos+length]), Allowed: allowed, Hint: hint,
	})
}

func (p *parser) parse(room int) {
	if len(p.expr) > MaxTimers*(MaxTimer+2) {
		p.expr = p.expr[:MaxTimer] // what an error should carry
		p.fail("timer", 0, len(p.expr), fmt.Sprintf("%d bytes a timer", MaxTimer), "")
		return
	}
	found := 0
	for pos := 0; pos <= len(p.expr); {
		length := strings.IndexAny(p.expr[pos:], ";\n\r")
		if length < 0 {
			length = len(p.expr) - pos
		}
		from, to := p.trim(pos, pos+length)
		if from < to {
			if found++; found > room {
				p.fail("timer", from, to-from, fmt.Sprintf("%d timers in one rule", MaxTimers), "")
				return
			}
			p.timer(from, to)
		}
		pos += length + 1
	}
	if found == 0 {
		p.fail("timer", 0, 0, "a timer such as 30 2 * * *, @daily or @every 90s", "")
	}
}

func blank(b byte) bool { return b == ' ' || b == '\t' }

// trim moves both ends of a stretch of the expression inwards over blanks.
func (p *parser) trim(from, to int) (int, int) {
	for from < to && blank(p.expr[from]) {
		from++
	}
	for from < to && blank(p.expr[to-1]) {
		to--
	}
	return from, to
}

// timer reads expr[from:to], which is not empty and has no blanks around it.
func (p *parser) timer(from, to int) {
	if to-from > MaxTimer {
		p.fail("timer", from, to-from, fmt.Sprintf("%d bytes a timer", MaxTimer), "")
		return
	}
	errs := len(p.errs)
	loc := p.options.Location
	for _, prefix := range [...]string{"CRON_TZ=", "TZ="} {
		if strings.HasPrefix(p.expr[from:to], prefix) {
			loc, from = p.zone(from+len(prefix), to)
			break
		}
	}
	if from == to {
		p.fail("timer", from, 0, "a timer after the time zone", "")
		return
	}
	var r rule
	if p.expr[from] == '@' {
		r = p.macro(from, to, loc)
	} else {
		r = p.fields(from, to, loc)
	}
	if len(p.errs) == errs {
		p.timers = append(p.timers, timer{r, loc})
	}
}

// zone reads the name of a zone and gives where the timer after it starts.
func (p *parser) zone(from, to int) (*time.Location, int) {
	end := from
	for end < to && !blank(p.expr[end]) {
		end++
	}
	name := p.expr[from:end]
	loc, err := LoadLocation(name)
	switch {
	case name == "":
		p.fail("time zone", from, 0, "a name of the IANA database such as Europe/Berlin, UTC, or Local", "")
	case err != nil:
		unknown := *Errors(err)[0]
		unknown.Index, unknown.Expr, unknown.Pos = p.index, p.expr, from
		p.errs = append(p.errs, &unknown)
	}
	if loc == nil {
		loc = time.UTC
	}
	for end < to && blank(p.expr[end]) {
		end++
	}
	return loc, end
}
