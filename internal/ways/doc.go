// Package ways executes what is no command on the node: requests over HTTP, commands on other hosts over SSH, and functions
// of the program that embeds the node. They stand behind the interface by which commands run ([job.Runner]), so that
// claims, retries, records, kills and timeouts are the same for all.
//
// # What differs from a command
//
// Such a run lives in this process: it ends with it, and nobody takes it up again. What it set off elsewhere may go on: a
// request that was sent can't be called back, and a command on another host is ended by a second session, which needs the
// connection. So the promise that two runs of an alone task never overlap holds for them only as long as the agent
// works and the network does; a receiver that must be sure compares the fencing number that it is handed.
//
// # Where a request may go
//
// The addresses that are dialled are judged, one by one, at the moment of dialling, after the name was resolved and after each
// redirect: a name that resolves to another address the second time gains nothing. Only public addresses pass, and
// what the node's owner allowed besides (addr.go).
package ways
