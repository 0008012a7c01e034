package schedule

const (
	secondsPerDay = 24 * 60 * 60

	// minUnix and maxUnix bound the instants of a schedule: 0001-01-01T00:00:01Z, so that the zero time
	// is left to mean "none", and 9999-12-31T23:59:59Z.
	minUnix = -62135596800 + 1
	maxUnix = 253402300799

	minYear, maxYear = 1, 9999

	// calendarCycle is the time after which the Gregorian calendar, weekdays included, repeats itself.
	calendarYears = 400
	calendarCycle = 146097 * secondsPerDay
)

// dateOf converts days since 1970-01-01 to a proleptic Gregorian date. It counts in years that start in March, so that the
// leap day is a year's last.
func dateOf(days int64) (year, month, day int) {
	z := days + 719468 // since 0000-03-01
	era := floorDiv(z, 146097)
	dayOfEra := z - era*146097
	yearOfEra := (dayOfEra - dayOfEra/1460 + dayOfEra/36524 - dayOfEra/146096) / 365
	dayOfYear := dayOfEra - (365*yearOfEra + yearOfEra/4 - yearOfEra/100)
	m := (5*dayOfYear + 2) / 153
	day = int(dayOfYear - (153*m+2)/5 + 1)
	month = int(m) + 3
	year = int(yearOfEra + era*400)
	if month > 12 {
		month -= 12
		year++
	}
	return year, month, day
}

// daysOf is the inverse of dateOf.
func daysOf(year, month, day int) int64 {
	y := int64(year)
	m := int64(month) - 3
	if m < 0 {
		m += 12
		y--
	}
	era := floorDiv(y, 400)
	yearOfEra := y - era*400
	dayOfYear := (153*m+2)/5 + int64(day) - 1
	dayOfEra := yearOfEra*365 + yearOfEra/4 - yearOfEra/100 + dayOfYear
	return era*146097 + dayOfEra - 719468
}

// weekdayOf gives the day of the week, Sunday is 0.
func weekdayOf(days int64) int {
	w := (days + 4) % 7 // 1970-01-01 was a Thursday
	if w < 0 {
		w += 7
	}
	return int(w)
}

func leap(year int) bool {
	return year%4 == 0 && (year%100 != 0 || year%400 == 0)
}

func monthLength(year, month int) int {
	switch month {
	case 2:
		if leap(year) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
