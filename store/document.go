package store

import "github.com/rota-dev/rota/job"

// documentKind is a collection of what people write under a name of its own.
func documentKind[T any, P interface {
	*T
	job.Document
}](root, sort string) *kind[job.Entry[T]] {
	return &kind[job.Entry[T]]{
		layout: layout{root, []part{name(sort)}}, sort: sort, encode: encodeJSON[job.Entry[T]],
		parts:    func(e *job.Entry[T]) []string { return []string{P(&e.Document).DocumentName()} },
		revision: func(e *job.Entry[T]) *int64 { return &e.Revision },
		decode:   decodeJSON(func(e *job.Entry[T]) error { return P(&e.Document).Valid() }),
	}
}

var templateKind = documentKind[job.Template]("templates", "template")

// Templates are what tasks share: name.
func (s *Store) Templates() *Collection[job.Entry[job.Template]] {
	return &Collection[job.Entry[job.Template]]{s, templateKind}
}

var (
	receiverKind = documentKind[job.Receiver]("receivers", "receiver")
	monitorKind  = documentKind[job.Monitor]("monitors", "monitor")
)

// Receivers are where messages go: name.
func (s *Store) Receivers() *Collection[job.Entry[job.Receiver]] {
	return &Collection[job.Entry[job.Receiver]]{s, receiverKind}
}

// Monitors are the jobs that Rota watches and does not run: name.
func (s *Store) Monitors() *Collection[job.Entry[job.Monitor]] {
	return &Collection[job.Entry[job.Monitor]]{s, monitorKind}
}
