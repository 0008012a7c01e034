//go:build linux

package guard

import (
	"bytes"
	"net"
	"os"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"golang.org/x/sys/unix"

	"github.com/rota-dev/rota/job"
)

// pipe is a conn, and the other end of its socket.
func pipe(t testing.TB) (*conn, *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	near, far := os.NewFile(uintptr(fds[0]), "near"), os.NewFile(uintptr(fds[1]), "far")
	defer near.Close()
	c, err := net.FileConn(near)
	if err != nil {
		t.Fatal(err)
	}
	n, err := newConn(c.(*net.UnixConn))
	if err != nil {
		t.Fatal(err)
	}
	return n, far
}

// Whatever comes over the socket, it is read as messages or the connection ends with an error; a message that was read is the same when
// it is written and read again.
func FuzzReceive(f *testing.F) {
	code := 3
	for _, m := range []*message{
		{Kind: kindHello, Build: "v1"},
		{Kind: kindStart, ID: 7, Exec: &job.Exec{Run: "r", Attempt: 1, Argv: []string{"a", ""}, Env: []string{"A=b"}, Stdin: []byte("x"), Timeout: time.Hour}, Until: time.Second},
		{Kind: kindEnded, ID: 7, Exit: &job.Exit{Outcome: job.Failed, ExitCode: &code, Reason: "exit 3"}},
		{Kind: kindRefused, ID: 8, Error: &failure{Code: job.CodeForbidden, Message: "no", Hint: "ask"}},
		{Kind: kindHeld, ID: 9, Held: &holding{Run: "r", Attempt: 2, Begin: time.Unix(1e9, 5).UTC(), Note: []byte{0, 1}}},
		{Kind: kindProgress, ID: 9, Progress: &job.Progress{Progress: 0.5, Message: "half"}},
	} {
		b, err := cbor.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(append(b, b...))
		f.Add(b[:len(b)/2])
	}
	f.Add([]byte{0xa2, 0, 1, 0, 2})                // a key twice
	f.Add([]byte{0xbf, 0xff})                      // of no stated length
	f.Add([]byte{0x9b, 255, 255, 255, 255, 0, 0})  // longer than anything
	f.Add(bytes.Repeat([]byte{0x81}, 1000))        // deep
	f.Add([]byte{0xa1, 6, 0x1b, 1, 2, 3, 4, 5, 6}) // torn in a number
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 64<<10 {
			t.Skip() // more than a socket takes at once
		}
		n, far := pipe(t)
		defer n.close()
		if _, err := far.Write(data); err != nil {
			t.Fatal(err)
		}
		far.Close()
		read := 0
		for {
			m, err := n.receive()
			if err != nil {
				return
			}
			if read++; read > len(data) {
				t.Fatalf("%d messages of %d bytes", read, len(data))
			}
			var buf bytes.Buffer
			if err := n.enc.MarshalToBuffer(m, &buf); err != nil {
				continue // a time beyond RFC 3339, say: it is not sent on
			}
			var back message
			if err := cbor.Unmarshal(buf.Bytes(), &back); err != nil {
				t.Fatalf("%+v: %v", m, err)
			}
			var again bytes.Buffer
			if err := n.enc.MarshalToBuffer(&back, &again); err != nil || !bytes.Equal(again.Bytes(), buf.Bytes()) {
				t.Fatalf("%+v\n%+v\n%v", m, &back, err)
			}
			if m.Kind != back.Kind || m.ID != back.ID || (m.Exec == nil) != (back.Exec == nil) {
				t.Fatalf("%+v\n%+v", m, &back)
			}
			_ = m.Error.err()
		}
	})
}
