package store

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
)

// listenerEnds is how etcd's own listeners end when it stops.
var listenerEnds = []string{
	"http: Server closed", "mux: server closed", "mux: listener closed", "grpc: the server has been stopped", "use of closed network connection",
}

// harmlessMessages are what every healthy start and stop of an embedded member says as a warning or an error, and
// the end of the error that must come with it; nil: none need come.
var harmlessMessages = map[string][]string{
	// One listener for gRPC and HTTP: it is a socket that only this process knows.
	"Running http and grpc server on single port. This is not recommended for production.": nil,
	// Passwords of etcd's users, of which an embedded member has none.
	"simple token is not cryptographically signed": nil,
	// A new database has no term yet; the monitor looks again a few seconds later.
	"Failed to detect schema version":  {"missing term information"},
	"failed to update storage version": {"missing term information", "etcdserver: request cancelled", "etcdserver: server stopped", "context canceled"},
	// A stop just after the start.
	"aborting cluster version update; server is stopped": nil,
	"server has stopped; skipping GoAttach":              nil,
	"failed to update cluster version":                   {"etcdserver: request cancelled", "etcdserver: server stopped", "context canceled"},
	// The end.
	"setting up serving from embedded etcd failed.": listenerEnds,
	"stopping insecure grpc server due to error":    listenerEnds,
	"stopped insecure grpc server due to error":     listenerEnds,
	"stopping secure grpc server due to error":      listenerEnds,
	"stopped secure grpc server due to error":       listenerEnds,
}

// campaignsLater ends what a member says that was slow to read its log at a start: it stands for election a moment later.
const campaignsLater = "since there are still pending configuration changes to apply"

// harmless tells whether a message of etcd means nothing to anybody.
func harmless(message string, fields []slog.Attr) bool {
	if strings.HasSuffix(message, campaignsLater) {
		return true
	}
	ends, ok := harmlessMessages[message]
	if !ok || ends == nil {
		return ok
	}
	return slices.ContainsFunc(fields, func(a slog.Attr) bool {
		return a.Key == "error" && slices.ContainsFunc(ends, func(end string) bool { return strings.HasSuffix(fmt.Sprint(a.Value), end) })
	})
}
