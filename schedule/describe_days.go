package schedule

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// describeDays says on which days, in which months and years, with a leading blank; it is empty for every day.
func (c *cron) describeDays() string {
	dom, dow := c.describeDom(), c.describeDow()
	months, years := c.values(fieldMonth), c.values(fieldYear)

	text := ""
	if dom != "" && len(months) == 1 && c.plainDays() && (dow == "" || c.stars&(starDom|starDow) != 0) {
		dom = numbers(c.values(fieldDom)) + " " + time.Month(months[0]).String()
		months = nil
	}
	switch {
	case dom != "" && dow != "" && c.stars&(starDom|starDow) != 0:
		text = " on " + dom + " if it is " + strings.ReplaceAll(dow, " and ", " or ")
	case dom != "" && dow != "":
		text = " on " + dom + " or on " + dow
	case dow != "":
		text = " on " + dow
	case dom != "":
		text = " on " + dom
	}
	if len(months) > 0 && len(months) < 12 {
		text += " in " + names(months, func(m int) string { return time.Month(m).String() })
	}
	if len(years) > 0 {
		if step, even := progression(years); even && step > 1 {
			text += fmt.Sprintf(" in every %s year from %d through %d", ordinal(step), years[0], years[len(years)-1])
		} else {
			text += " in " + names(years, strconv.Itoa)
		}
	}
	return text
}

// names writes runs of three and more as "a through b".
func names(values []int, name func(int) string) string {
	var items []string
	for i := 0; i < len(values); {
		j := i
		for j+1 < len(values) && values[j+1] == values[j]+1 {
			j++
		}
		if j >= i+2 {
			items = append(items, name(values[i])+" through "+name(values[j]))
		} else {
			j = i
			items = append(items, name(values[i]))
		}
		i = j + 1
	}
	return enumerate(items)
}

// plainDays tells whether the days of the month are few and have no special ones among them.
func (c *cron) plainDays() bool {
	x := c.extra
	return len(c.values(fieldDom)) <= 3 && (x == nil || x.lastDom == 0 && x.nearest == 0 && !x.lastWeekday)
}

// describeDom is empty for all days.
func (c *cron) describeDom() string {
	values := c.values(fieldDom)
	if len(values) == 31 {
		return ""
	}
	var items []string
	step, even := progression(values)
	switch {
	case len(values) == 0:
	case even && step > 1 && values[0] <= step && values[len(values)-1]+step > 31:
		item := "every " + ordinal(step) + " day of the month"
		if values[0] > 1 {
			item += " from day " + strconv.Itoa(values[0])
		}
		items = append(items, item)
	case len(values) == 1:
		items = append(items, "day "+strconv.Itoa(values[0])+" of the month")
	default:
		items = append(items, "days "+names(values, strconv.Itoa)+" of the month")
	}
	if x := c.extra; x != nil {
		items = append(items, x.describeDays()...)
	}
	return enumerate(items)
}

func (x *extra) describeDays() []string {
	var items []string
	for n := range 32 {
		if x.nearest>>n&1 != 0 {
			items = append(items, "the weekday nearest to day "+strconv.Itoa(n)+" of the month")
		}
	}
	for n := 31; n >= 0; n-- {
		switch {
		case x.lastDom>>n&1 == 0:
		case n == 0:
			items = append(items, "the last day of the month")
		case n == 1:
			items = append(items, "the day before the last of the month")
		default:
			items = append(items, "the "+ordinal(n)+" day before the last of the month")
		}
	}
	if x.lastWeekday {
		items = append(items, "the last weekday of the month")
	}
	return items
}

// describeDow is empty for all days.
func (c *cron) describeDow() string {
	values := c.values(fieldDow)
	if len(values) == 7 {
		return ""
	}
	// The week is told from Monday on, so that a weekend is one run.
	if len(values) > 0 && values[0] == 0 {
		values = append(values[1:], 7)
	}
	day := func(w int) string { return time.Weekday(w % 7).String() }
	var items []string
	if len(values) > 0 {
		items = append(items, names(values, day))
	}
	if x := c.extra; x != nil {
		for n, dow := range x.nth {
			for w := range 7 {
				if dow>>w&1 != 0 {
					items = append(items, fmt.Sprintf("the %s %s of the month", ordinal(n+1), day(w)))
				}
			}
		}
		for w := range 7 {
			if x.lastDow>>w&1 != 0 {
				items = append(items, "the last "+day(w)+" of the month")
			}
		}
	}
	return enumerate(items)
}

func ordinal(n int) string {
	suffix := "th"
	if n/10%10 != 1 {
		switch n % 10 {
		case 1:
			suffix = "st"
		case 2:
			suffix = "nd"
		case 3:
			suffix = "rd"
		}
	}
	return strconv.Itoa(n) + suffix
}
