package store

import (
	"context"
	"strconv"
	"strings"
	"sync/atomic"

	"google.golang.org/grpc/metadata"
)

// streamHeader tells the streams of watches apart: etcd's client puts all watches whose contexts have the same headers on
// one stream, and etcd tells how far it is to all of a stream or to none.
const streamHeader = "rota-watch"

var streams atomic.Int64

// onStream gives the watches that are made with a context a stream of their own.
func onStream(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, streamHeader, strconv.FormatInt(streams.Add(1), 10))
}

func streamOf(ctx context.Context) string {
	md, _ := metadata.FromOutgoingContext(ctx)
	return strings.Join(md.Get(streamHeader), ",")
}
