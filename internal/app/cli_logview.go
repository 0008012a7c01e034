package app

import (
	"bytes"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/rota-dev/rota/job"
)

// logView prints output as it is asked for: of one stream or both, with times or without. The zero value prints every byte as it is.
type logView struct {
	stdout, stderr bool // this one alone
	stamps         bool
	zone           *time.Location

	last job.Stream // what was printed last
	open bool       // and has no end of line
}

// flags are those of the commands that print output.
func (v *logView) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&v.stdout, "stdout", false, "only what was written to stdout")
	cmd.Flags().BoolVar(&v.stderr, "stderr", false, "only what was written to stderr")
	cmd.Flags().BoolVar(&v.stamps, "timestamps", false, "begin each line with when it came and from where (out or err)")
}

// check refuses what can't be asked for.
func (v *logView) check() error {
	if v.stdout && v.stderr {
		return usagef("leave both out", "--stdout and --stderr exclude each other")
	}
	return nil
}

// wants tells whether a stream is to be printed. What is of no stream, or of both, always is.
func (v *logView) wants(s job.Stream) bool {
	return s == "" || !v.stdout && !v.stderr || v.stdout && s == job.Stdout || v.stderr && s == job.Stderr
}

// print writes a piece of output.
func (v *logView) print(w io.Writer, stream job.Stream, at time.Time, data []byte) error {
	if !v.wants(stream) || len(data) == 0 {
		return nil
	}
	if !v.stamps {
		_, err := w.Write(data)
		v.open = data[len(data)-1] != '\n'
		return err
	}
	var b bytes.Buffer
	if v.open && v.last != stream { // a line that another stream breaks into is told apart from it
		b.WriteByte('\n')
		v.open = false
	}
	for line := range bytes.Lines(data) {
		if !v.open {
			b.WriteString(v.stamp(stream, at))
		}
		b.Write(line)
		v.open = line[len(line)-1] != '\n'
	}
	v.last = stream
	_, err := w.Write(b.Bytes())
	return err
}

// stamp has the same width for every line.
func (v *logView) stamp(stream job.Stream, at time.Time) string {
	zone := v.zone
	if zone == nil {
		zone = time.Local
	}
	when := at.In(zone).Format("2006-01-02T15:04:05.000Z07:00")
	if at.IsZero() {
		when = fmt.Sprintf("%*s", len(time.Now().In(zone).Format("2006-01-02T15:04:05.000Z07:00")), "")
	}
	name := map[job.Stream]string{job.Stdout: "out", job.Stderr: "err"}[stream]
	return fmt.Sprintf("%s %-3s ", when, name)
}

// record prints what a record kept.
func (v *logView) record(w io.Writer, r *job.ExecutionRecord) error {
	for _, p := range r.Pieces() {
		if err := v.print(w, p.Stream, p.Time, []byte(p.Text)); err != nil {
			return err
		}
	}
	return nil
}

// apart says what the record can't tell of its streams, where that matters to what is asked for; or "".
func (v *logView) apart(r *job.ExecutionRecord) string {
	if !v.stdout && !v.stderr {
		return ""
	}
	for _, p := range r.Pieces() {
		if p.Stream == "" && (p.Merged > 0 || len(r.OutputParts) == 0) {
			return "the record does not tell all of its output apart; what may be of either stream is shown"
		}
	}
	return ""
}
