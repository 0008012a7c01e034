// Package history remembers records in SQLite or PostgreSQL, behind the port [job.History]. One set of statements
// and of migrations serves both.
//
// # What is kept
//
// A record is a narrow row of the table records, which lists read, and a row of record_bodies with its output, its
// result and its attempts, which they leave out. A row of tasks holds the last number that a task's
// records were given, a pointer to the newest of them, and a counter for each outcome: they are brought up to date
// in the transaction that stores a record, under the lock that this row is, so nothing is ever counted by reading.
// Counters and the places where a task succeeded outlive pruning. So do the summaries of each day of each task, and of each task on each
// node (tables task_days and node_days): counts, and a histogram of durations that can be added up. A batch adds to those that it touches.
//
// # How lists are read
//
// The outcome and the trigger of a record are one number, its class. Each index for lists is (whose, class, ended,
// seq), with the task, the job, the node, the group or nobody as whose. A page is read in two steps: the
// classes that occur are found by hopping through the index, then the heads of the ranges that the filter wants
// are merged. Its cost depends on the page, not on the size of the history nor on how rare the hits are. A
// cursor is the end and the seq of the last record that was shown.
//
// # What is promised
//
// A commit is acknowledged when it is durable: SQLite runs with synchronous=FULL, and a PostgreSQL session that would
// not wait for the disk is made to. Storing is idempotent on the record's id and follows the table of
// [job.Outcome.Supersedes]. While the database is away each call fails with [job.CodeUnavailable]; the next one that
// finds it back works. An SQLite file has one master: a lock beside it refuses the second.
package history
