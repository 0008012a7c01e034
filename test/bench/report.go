package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
)

// remarks say what the figures that miss their targets are made of.
const remarks = `
## What is not met, and why

A run that is asked for costs more than its target. By the profile of the same load without HTTP
(` + "`go test ./internal/app -run '^$' -bench OneOff -cpuprofile cpu.prof`" + `) the server's processor time goes, in round figures, to: starting and
reaping the process 35 %, etcd (apply, raft, its log) 20 %, decoding what the watches of node and master tell 12 %, history 11 %, asking
5 %, the spool 4 %, garbage collection and the rest 13 %. HTTP and its JSON come on top: about 150 µs a run.

Instants that are due together start a little later than the bare loop ends as many, because each has its beginning on disk before it starts, and
records are handed over and taken in meanwhile, on the same processors.

Other figures: timers against other libraries in [timers](timers.md), history with a million records by
` + "`ROTA_BENCH_RECORDS=1000000 go test -run '^$' -bench Page ./internal/history`" + `, the plan for a million jobs by
` + "`go test -run '^$' -bench . ./internal/engine`" + `, the clock with a million entries by ` + "`go test -run '^$' -bench Clock ./internal/node`" + `.
`

// write writes the report.
func write(path string, figures []figure, rounds int) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# Benchmarks\n\nWritten by `make bench`, which takes each figure %d times and shows the median. Only the ratios carry over to other\nmachines: what is compared is taken in turn, in the same run.\n\n", rounds)
	fmt.Fprintf(&b, "%s, %s, %d processors (%s), %s\n\n", time.Now().UTC().Format("2006-01-02"), runtime.Version(), runtime.NumCPU(), cpuModel(), kernel())
	b.WriteString("| what | figure | target | note |\n|---|---|---|---|\n")
	for _, f := range figures {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", f.what, f.value, f.target, f.note)
	}
	b.WriteString(remarks)
	if path == "-" {
		_, err := fmt.Print(b.String())
		return err
	}
	return os.WriteFile(path, []byte(b.String()), 0o644)
}

func cpuModel() string {
	data, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range strings.Lines(string(data)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
			return strings.TrimSpace(v)
		}
	}
	return runtime.GOARCH
}

func kernel() string {
	data, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return runtime.GOOS
	}
	return "Linux " + strings.TrimSpace(string(data))
}
