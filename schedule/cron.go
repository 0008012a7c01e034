package schedule

import (
	"math/bits"
	"time"
)

// A cron is a timer of fields: the readings of a wall clock at which it is due, and the zone of the clock. Bit n of a
// field stands for the value n. It is kept small: a node may hold a million.
type cron struct {
	second, minute uint64
	hour, dom      uint32
	month          uint16
	dow            uint8
	stars          stars
	dst            DST
	extra          *extra // nil for most
	loc            *time.Location
}

// stars notes which fields were written with a leading *, because cron treats them apart.
type stars uint8

const (
	starMinute stars = 1 << iota
	starHour
	starDom
	starDow
)

// extra holds what few timers use.
type extra struct {
	lastDom     uint32   // bit n: n days before the last of the month
	nearest     uint32   // bit d: the weekday nearest to day d
	lastWeekday bool     // LW
	lastDow     uint8    // bit w: the last w of the month
	nth         [5]uint8 // bit w of nth[n]: the n+1st w of the month
	years       bitset   // from firstYear; empty: every year
}

// wild tells whether the timer follows real time through changes of the clock.
func (c *cron) wild() bool { return c.stars&(starMinute|starHour) != 0 }

func (c *cron) matchesYear(year int) bool {
	if c.extra == nil || c.extra.years.empty() {
		return true
	}
	return c.extra.years.has(year - firstYear)
}

// limits gives the years outside of which the timer is never due.
func (c *cron) limits() (first, last int) {
	if c.extra == nil || c.extra.years.empty() {
		return minYear, maxYear
	}
	return firstYear + c.extra.years.first(), firstYear + c.extra.years.last()
}

// days gives the days of a month on which the timer is due, bit d for day d.
func (c *cron) days(year, month int) uint32 {
	length := monthLength(year, month)
	first := weekdayOf(daysOf(year, month, 1))
	whole := uint32(1)<<(length+1) - 2

	dom, dow := c.dom, spreadWeek(c.dow, first)
	if x := c.extra; x != nil {
		dom |= x.daysOfMonth(length, first)
		dow |= x.weekdays(length, first)
	}
	if c.stars&(starDom|starDow) != 0 {
		return dom & dow & whole
	}
	return (dom | dow) & whole
}

// spreadWeek turns a set of weekdays into a set of days of a month that starts on the weekday first.
func spreadWeek(dow uint8, first int) uint32 {
	const weeks = 1 | 1<<7 | 1<<14 | 1<<21 | 1<<28 | 1<<35
	return uint32(uint64(dow) * weeks >> first << 1)
}

func (x *extra) daysOfMonth(length, first int) uint32 {
	var days uint32
	for set := x.lastDom; set != 0; set &= set - 1 {
		if day := length - bits.TrailingZeros32(set); day > 0 {
			days |= 1 << day
		}
	}
	for set := x.nearest; set != 0; set &= set - 1 {
		if day := bits.TrailingZeros32(set); day <= length {
			days |= 1 << nearestWeekday(day, length, first)
		}
	}
	if x.lastWeekday {
		days |= 1 << nearestWeekday(length, length, first)
	}
	return days
}

// nearestWeekday gives the day from Monday to Friday that is nearest to day in the same month.
func nearestWeekday(day, length, first int) int {
	switch (first + day - 1) % 7 {
	case 0: // Sunday
		if day == length {
			return day - 2
		}
		return day + 1
	case 6: // Saturday
		if day == 1 {
			return 3
		}
		return day - 1
	}
	return day
}

func (x *extra) weekdays(length, first int) uint32 {
	var days uint32
	for n, dow := range x.nth {
		if dow != 0 {
			days |= spreadWeek(dow, first) & (0x7f << (7*n + 1))
		}
	}
	if x.lastDow != 0 {
		days |= spreadWeek(x.lastDow, first) & (0x7f << (length - 6))
	}
	return days
}

// nextWall finds the first reading at or after w at which the timer is due. A reading is counted in seconds as if the clock
// showed UTC.
func (c *cron) nextWall(w int64) (int64, bool) {
	day := floorDiv(w, secondsPerDay)
	year, month, d := dateOf(day)
	from, to := c.limits()
	if year > to {
		return 0, false
	}
	if year < from {
		year, month, d = from, 1, 1
		w = daysOf(year, 1, 1) * secondsPerDay
		day = w / secondsPerDay
	}
	to = min(to, year+calendarYears)

	time := int(w - day*secondsPerDay)
	for ; year <= to; year, month = year+1, 1 {
		if !c.matchesYear(year) {
			d, time = 1, 0
			continue
		}
		for ; month <= 12; month++ {
			if c.month>>month&1 != 0 {
				for days := c.days(year, month) >> d << d; days != 0; days &= days - 1 {
					found := bits.TrailingZeros32(days)
					if found != d {
						time = 0
					}
					if t, ok := c.nextTime(time); ok {
						return daysOf(year, month, found)*secondsPerDay + int64(t), true
					}
					time = 0
				}
			}
			d, time = 1, 0
		}
	}
	return 0, false
}

// prevWall finds the last reading at or before w at which the timer is due.
func (c *cron) prevWall(w int64) (int64, bool) {
	day := floorDiv(w, secondsPerDay)
	year, month, d := dateOf(day)
	from, to := c.limits()
	if year < from {
		return 0, false
	}
	if year > to {
		year, month, d = to, 12, 31
		w = daysOf(year+1, 1, 1)*secondsPerDay - 1
		day = floorDiv(w, secondsPerDay)
	}
	from = max(from, year-calendarYears)

	time := int(w - day*secondsPerDay)
	for ; year >= from; year, month = year-1, 12 {
		if !c.matchesYear(year) {
			d, time = 31, secondsPerDay-1
			continue
		}
		for ; month >= 1; month-- {
			if c.month>>month&1 != 0 {
				for days := c.days(year, month) & (1<<(d+1) - 1); days != 0; {
					found := bits.Len32(days) - 1
					if found != d {
						time = secondsPerDay - 1
					}
					if t, ok := c.prevTime(time); ok {
						return daysOf(year, month, found)*secondsPerDay + int64(t), true
					}
					time = secondsPerDay - 1
					days &^= 1 << found
				}
			}
			d, time = 31, secondsPerDay-1
		}
	}
	return 0, false
}

// nextTime finds the first second of the day at or after t at which the timer is due.
func (c *cron) nextTime(t int) (int, bool) {
	hour, minute, second := t/3600, t/60%60, t%60
	if c.hour>>hour&1 != 0 {
		if c.minute>>minute&1 != 0 {
			if s := c.second >> second << second; s != 0 {
				return hour*3600 + minute*60 + bits.TrailingZeros64(s), true
			}
		}
		if m := c.minute >> (minute + 1) << (minute + 1); m != 0 {
			return hour*3600 + bits.TrailingZeros64(m)*60 + bits.TrailingZeros64(c.second), true
		}
	}
	if h := c.hour >> (hour + 1) << (hour + 1); h != 0 {
		return bits.TrailingZeros32(h)*3600 + bits.TrailingZeros64(c.minute)*60 + bits.TrailingZeros64(c.second), true
	}
	return 0, false
}

// prevTime finds the last second of the day at or before t at which the timer is due.
func (c *cron) prevTime(t int) (int, bool) {
	hour, minute, second := t/3600, t/60%60, t%60
	if c.hour>>hour&1 != 0 {
		if c.minute>>minute&1 != 0 {
			if s := c.second & (1<<(second+1) - 1); s != 0 {
				return hour*3600 + minute*60 + bits.Len64(s) - 1, true
			}
		}
		if m := c.minute & (1<<minute - 1); m != 0 {
			return hour*3600 + (bits.Len64(m)-1)*60 + bits.Len64(c.second) - 1, true
		}
	}
	if h := c.hour & (1<<hour - 1); h != 0 {
		return (bits.Len32(h)-1)*3600 + (bits.Len64(c.minute)-1)*60 + bits.Len64(c.second) - 1, true
	}
	return 0, false
}
