package api

import (
	"time"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/schedule"
)

// DescribeTimer tells what a timer says: its normal form, its sentence, and its n next firings (0: five) after a time.
// The zone is UTC where it is empty.
func DescribeTimer(expr, zone string, from time.Time, n int) (*client.Cron, error) {
	if zone == "" {
		zone = "UTC"
	}
	loc, err := schedule.LoadLocation(zone)
	if err != nil {
		return nil, timerError(err)
	}
	s, err := schedule.Parse(expr, schedule.Options{Location: loc})
	if err != nil {
		return nil, timerError(err)
	}
	if n == 0 {
		n = 5
	}
	c := &client.Cron{
		Expression: s.String(), Description: s.Describe(), Timezone: s.Location().String(),
		Next: []string{}, Warnings: list(s.Warnings(from)),
	}
	for t := s.Next(from); !t.IsZero() && len(c.Next) < n; t = s.Next(t) {
		c.Next = append(c.Next, t.In(s.Location()).Format(time.RFC3339))
	}
	return c, nil
}

// timerError lists every fault of a timer.
func timerError(err error) error {
	list := schedule.Errors(err)
	if len(list) == 0 {
		return job.Errorf(job.CodeInvalid, "%w", err)
	}
	var f job.Faults
	for _, e := range list {
		f.Add("", "%s", e.Error())
	}
	return f.Err("the timer cannot be read")
}
