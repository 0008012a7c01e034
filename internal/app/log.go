package app

import (
	"io"
	"log/slog"

	"github.com/rota-dev/rota/job"
)

// newLogger makes the logger of a server.
func newLogger(w io.Writer, level, format string) (*slog.Logger, error) {
	var l slog.Level
	if level != "" {
		if err := l.UnmarshalText([]byte(level)); err != nil {
			return nil, job.Errorf(job.CodeInvalid, "--log-level %q is not known", level).WithHint("want debug, info, warn or error")
		}
	}
	opts := &slog.HandlerOptions{Level: l}
	switch format {
	case "", "text":
		return slog.New(slog.NewTextHandler(w, opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	}
	return nil, job.Errorf(job.CodeInvalid, "--log-format %q is not known", format).WithHint("want text or json")
}
