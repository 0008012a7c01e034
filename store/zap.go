package store

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// zapTo is a logger for etcd's code that passes warnings and errors on, those that mean nothing as debug messages.
func zapTo(log *slog.Logger) *zap.Logger {
	if log == nil {
		return zap.NewNop()
	}
	// A client that cannot reach etcd says so at every attempt.
	return zap.New(zapcore.NewSamplerWithOptions(&zapCore{log: log}, 10*time.Second, 2, 1000))
}

// zapFor is zapTo for a member, of which the last words before it panics are kept.
func zapFor(log *slog.Logger, words *lastWords) *zap.Logger {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return zap.New(zapcore.NewTee(zapTo(log).Core(), words))
}

// lastWords keeps what is logged before a panic.
type lastWords struct {
	mu   sync.Mutex
	text string
}

func (w *lastWords) Enabled(l zapcore.Level) bool { return l >= zapcore.DPanicLevel }

func (w *lastWords) With([]zapcore.Field) zapcore.Core { return w }

func (w *lastWords) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if w.Enabled(e.Level) {
		return ce.AddCore(e, w)
	}
	return ce
}

func (w *lastWords) Write(e zapcore.Entry, fields []zapcore.Field) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = e.Message
	for _, a := range attrs(fields) {
		if a.Key == "error" {
			w.text += ": " + a.Value.String()
		}
	}
	return nil
}

func (w *lastWords) Sync() error { return nil }

func (w *lastWords) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text
}

type zapCore struct{ log *slog.Logger }

func (c *zapCore) Enabled(l zapcore.Level) bool {
	return l >= zapcore.WarnLevel && c.log.Enabled(context.Background(), slogLevel(l))
}

func slogLevel(l zapcore.Level) slog.Level {
	if l >= zapcore.ErrorLevel {
		return slog.LevelError
	}
	return slog.LevelWarn
}

func (c *zapCore) With(fields []zapcore.Field) zapcore.Core {
	return &zapCore{log: slog.New(c.log.Handler().WithAttrs(attrs(fields)))}
}

func (c *zapCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

func (c *zapCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	level, list := slogLevel(e.Level), attrs(fields)
	if harmless(e.Message, list) {
		level = slog.LevelDebug
	}
	c.log.LogAttrs(context.Background(), level, "etcd: "+e.Message, list...)
	if e.Level >= zapcore.DPanicLevel {
		c.log.Error("etcd can't go on, and this process ends with it, by etcd's will. What it has acknowledged is on its disk, and runs go on. Mend what it says, as by making room where its disk is full, and start this again")
	}
	return nil
}

func (c *zapCore) Sync() error { return nil }

func attrs(fields []zapcore.Field) []slog.Attr {
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(enc)
	}
	list := make([]slog.Attr, 0, len(fields))
	for _, f := range fields {
		if v, ok := enc.Fields[f.Key]; ok {
			list = append(list, slog.Any(f.Key, v))
		}
	}
	return list
}
