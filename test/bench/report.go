package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
)

// write writes the report.
func write(path string, figures []figure, rounds int) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# Benchmarks\n\nWritten by `make bench`, which takes each figure %d times and shows the median. Only the ratios carry over to other\nmachines: what is compared is taken in turn, in the same run.\n\n", rounds)
	fmt.Fprintf(&b, "%s, %s, %d processors (%s), %s\n\n", time.Now().UTC().Format("2006-01-02"), runtime.Version(), runtime.NumCPU(), cpuModel(), kernel())
	b.WriteString("| what | figure | target | note |\n|---|---|---|---|\n")
	for _, f := range figures {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", f.what, f.value, f.target, f.note)
	}
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
