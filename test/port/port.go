// Package port hands out addresses on which a test lets a server listen, kills it, and starts it again.
package port

import (
	"errors"
	"math/rand/v2"
	"net"
	"runtime"
	"strconv"
	"sync"
)

// The ports handed out are below those that systems give to outgoing connections (ip_local_port_range, from 32768 on Linux, 49152
// elsewhere) and to whoever listens on port 0: one of these could take a port between here and its use.
const first, count = 12000, 18000

var (
	mu       sync.Mutex
	next     = rand.IntN(count)
	reserved []net.Listener // as long as this process lives
)

// Free is an address of the loopback interface on which nobody listens. It is given to no other caller, in this process or in
// another one in this network, as long as this process lives.
func Free() (addr string, err error) {
	mu.Lock()
	defer mu.Unlock()
	for range count {
		port := strconv.Itoa(first + next)
		next = (next + 1) % count
		if runtime.GOOS == "linux" {
			// A name of the abstract namespace belongs to one process at a time, in its network, and ends with it.
			mine, err := net.Listen("unix", "@rota-test-port-"+port)
			if err != nil {
				continue
			}
			reserved = append(reserved, mine)
		}
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", port))
		if err != nil {
			continue // somebody else's
		}
		return l.Addr().String(), l.Close()
	}
	return "", errors.New("there is no free port")
}

// Fataler is what Must needs of a test.
type Fataler interface {
	Helper()
	Fatal(args ...any)
}

// Must is Free for tests.
func Must(t Fataler) string {
	t.Helper()
	addr, err := Free()
	if err != nil {
		t.Fatal(err)
	}
	return addr
}
