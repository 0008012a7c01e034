// Package notify decides of what people are told, words it, and sends it.
//
// # What people are told of
//
// A task, on each node where it is common, is in a state: good, or one of the events of [job.AlertEvent]. Each record that counts moves
// it, and a message goes out when the state changes, not on each run ([State.Take]); while a bad state lasts, reminders may follow
// ([State.Tick]). One that changes too often is held back until it is the same for a while. All of that is pure: it takes a state, what
// happened and the time, and gives the new state and the messages. History keeps both in one transaction.
//
// # How it gets there
//
// A message is made when its event is: what it says does not change when it is sent later or again. Its ID says what it is about, so
// that a receiver can tell one that was sent twice. A [Sender] makes one attempt; the master tries again, counts, and gives up.
package notify
