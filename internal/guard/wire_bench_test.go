//go:build linux

package guard

import (
	"bytes"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/rota-dev/rota/job"
)

func BenchmarkWire(b *testing.B) {
	enc, _ := cbor.EncOptions{Time: cbor.TimeRFC3339Nano}.UserBufferEncMode()
	dec, _ := cbor.DecOptions{}.DecMode()
	e := job.Exec{Run: "r", Attempt: 1, Argv: []string{"/bin/true"}, Dir: "/", Note: make([]byte, 1500)}
	e.Env = []string{"PATH=/usr/bin:/bin", "HOME=/", "ROTA_RUN=x", "ROTA_TASK=x", "ROTA_GROUP=default", "ROTA_NODE=x"}
	zero := 0
	x := job.Exit{Outcome: job.Success, ExitCode: &zero, Begin: time.Now(), End: time.Now()}
	for name, m := range map[string]*message{"start": {Kind: kindStart, ID: 1 << 60, Exec: &e}, "ended": {Kind: kindEnded, ID: 1 << 60, Exit: &x}} {
		b.Run(name+"/encode", func(b *testing.B) {
			var buf bytes.Buffer
			for b.Loop() {
				buf.Reset()
				if err := enc.MarshalToBuffer(m, &buf); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/decode", func(b *testing.B) {
			var buf bytes.Buffer
			if err := enc.MarshalToBuffer(m, &buf); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(buf.Len()), "bytes")
			for b.Loop() {
				if err := dec.Unmarshal(buf.Bytes(), &message{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
