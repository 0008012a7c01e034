package app

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

func BenchmarkOneOff(b *testing.B) {
	ctx := context.Background()
	s, err := Start(ctx, ServerConfig{Role: RoleUp, Data: b.TempDir(), Listen: "127.0.0.1:0", Name: "n1"}, b.Output())
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	if err := s.Ready(ctx); err != nil {
		b.Fatal(err)
	}
	if _, err := s.apply(ctx, job.Documents{Tasks: []job.Task{{Name: "true", Command: job.Args("/bin/true"), Overlap: job.OverlapAllow, Concurrency: 1000}}}); err != nil {
		b.Fatal(err)
	}
	ref := job.Ref("", "true")
	b.ResetTimer()
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := w; i < b.N; i += 16 {
				if _, err := s.master.Run(ctx, client.RunRequest{Task: ref}); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	for {
		totals, err := s.history.Totals(ctx, ref)
		if err != nil {
			b.Fatal(err)
		}
		st := totals[ref]
		if st.Count[job.Success] >= int64(b.N) {
			break
		}
		if n := st.Count[job.Failed] + st.Count[job.Missed] + st.Count[job.Lost] + st.Count[job.Skipped]; n > 0 {
			page, _ := s.history.Records(ctx, job.RecordFilter{Limit: 1})
			b.Fatalf("%v: %v", st.Count, page.Records)
		}
		time.Sleep(2 * time.Millisecond)
	}
}
