package runner

import (
	"log/slog"
	"time"

	"github.com/rota-dev/rota/job"
)

// Options configure a [Runner].
type Options struct {
	// Dir is the runner's own directory, in which runs leave their results. It is created, and what an
	// earlier life left in it is removed; no two runners may share it.
	Dir string
	// Logger hears about what no run can report: processes that can't be ended, files that can't be removed. nil: nobody.
	Logger *slog.Logger
	// Starts is how many commands may be in fork and exec at the same time; 0: two for each CPU. More than 2 to 4
	// add nothing but latency. It does not limit how many run.
	Starts int
	// Follow, if set, is asked at the start of each execution for somebody who wants its output as it comes. With
	// a non-nil answer stdout and stderr get a pipe each and are told apart, at the price that their order relative
	// to each other is that of reading, exact only between moments; otherwise they share one, and the order is that
	// of writing.
	Follow func(job.Exec) Sink
}

// Sink takes output as it comes, in order and never concurrently for one execution. It must neither block nor call the
// execution: it is called from the loop that serves every run.
type Sink interface {
	Chunk(Chunk)
}

// Chunk is a piece of output.
type Chunk struct {
	Stream Stream
	At     time.Time
	Data   []byte // valid until Chunk returns
}

// Stream says where output was written to.
type Stream uint8

// The streams.
const (
	Combined Stream = iota // stdout and stderr through one pipe
	Stdout
	Stderr
)
