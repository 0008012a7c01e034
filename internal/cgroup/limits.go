//go:build linux

package cgroup

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/rota-dev/rota/job"
)

// controllers are those that limits need.
var controllers = []string{"memory", "cpu", "pids"}

// controllerOf says which controller enforces a limit.
var controllerOf = map[string]string{"memory": "memory", "cpu": "cpu", "cpu_weight": "cpu", "processes": "pids"}

// limitsOf lists the limits that groups enforce, in the order of task files.
var limitsOf = []string{"memory", "cpu", "cpu_weight", "processes"}

// setting is a text in a file of a group.
type setting struct {
	controller, file, text string
	optional               bool // kernels without it do
}

// period is that of CPU quotas in microseconds, the kernel's default.
const period = 100_000

// settings2 are the limits in terms of version 2.
func settings2(l job.Limits) (list []setting) {
	if l.Memory > 0 {
		list = append(list,
			setting{"memory", "memory.max", strconv.FormatInt(int64(l.Memory), 10), false},
			setting{"memory", "memory.swap.max", "0", true},
			setting{"memory", "memory.oom.group", "1", true}) // the run ends as one
	}
	if l.CPU > 0 {
		list = append(list, setting{"cpu", "cpu.max", fmt.Sprintf("%d %d", int64(l.CPU*period), period), false})
	}
	if l.CPUWeight > 0 {
		list = append(list, setting{"cpu", "cpu.weight", strconv.Itoa(l.CPUWeight), false})
	}
	if l.Processes > 0 {
		list = append(list, setting{"pids", "pids.max", strconv.Itoa(l.Processes), false})
	}
	return list
}

// settings1 are the limits in terms of version 1.
func settings1(l job.Limits) (list []setting) {
	if l.Memory > 0 {
		bytes := strconv.FormatInt(int64(l.Memory), 10)
		list = append(list,
			setting{"memory", "memory.limit_in_bytes", bytes, false},
			setting{"memory", "memory.memsw.limit_in_bytes", bytes, true})
	}
	if l.CPU > 0 {
		list = append(list,
			setting{"cpu", "cpu.cfs_period_us", strconv.Itoa(period), false},
			setting{"cpu", "cpu.cfs_quota_us", strconv.FormatInt(int64(l.CPU*period), 10), false})
	}
	if l.CPUWeight > 0 { // shares have 1024 where weights have 100
		list = append(list, setting{"cpu", "cpu.shares", strconv.Itoa(max(l.CPUWeight*1024/100, 2)), false})
	}
	if l.Processes > 0 {
		list = append(list, setting{"pids", "pids.max", strconv.Itoa(l.Processes + 1), false}) // see LeaveThread
	}
	return list
}

// needed lists the controllers that limits need, each once.
func needed(l job.Limits) (list []string) {
	for _, name := range l.Names() {
		if c := controllerOf[name]; c != "" && !slices.Contains(list, c) {
			list = append(list, c)
		}
	}
	return list
}

// counter reads a number from a file of lines "KEY NUMBER"; 0 where there is none.
func counter(text, key string) int64 {
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && name == key {
			n, _ := strconv.ParseInt(value, 10, 64)
			return n
		}
	}
	return 0
}
