package api

import (
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rota-dev/rota/job"
)

// pingPath begins the paths of pings: /ping/KEY/start, ok, fail or an exit code; /ping/KEY alone is ok.
const pingPath = "/ping/"

// How many pings are taken: a number at once, and so many a second.
const (
	pingsOfKey     = 20
	pingsOfKeyRate = 0.5
	pingsFrom      = 100
	pingsFromRate  = 5
	maxPingers     = 10_000
)

// ping takes a ping. It needs no login: the key is the credential. Whatever is wrong with a key, the answer is the same.
func (s *server) ping(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	from := remoteAddr(r)
	if !s.pingers.take("from "+from, pingsFrom, pingsFromRate, time.Now()) {
		s.tooManyPings(w, r)
		return
	}
	key, what, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, pingPath), "/")
	p, ok := pingOf(what)
	if !ok {
		s.problem(w, r, job.Errorf(job.CodeInvalid, "a ping says start, ok, fail or an exit code from 0 to 255").WithHint("such as %sKEY/ok", pingPath))
		return
	}
	if r.Method == http.MethodPost {
		p.Output, p.OutputBytes = readOutput(r.Body)
	}
	p.From = from
	// Of keys that are none nothing is counted. One that is not known here yet may be one all the same: Ping finds out.
	if s.master.CheckPing(key) == nil && !s.pingers.take("of "+key, pingsOfKey, pingsOfKeyRate, time.Now()) {
		s.tooManyPings(w, r)
		return
	}
	if err := s.master.Ping(r.Context(), key, p); err != nil {
		s.problem(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if r.Method != http.MethodHead {
		fmt.Fprintln(w, "ok")
	}
}

func (s *server) tooManyPings(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Retry-After", "10")
	s.problem(w, r, job.Errorf(job.CodeExhausted, "too many pings come from there, or of this monitor"))
}

// shownPath is the path of a request as logs have it: the key of a ping is a credential.
func shownPath(r *http.Request) string {
	if strings.HasPrefix(r.URL.Path, pingPath) {
		return pingPath + "…"
	}
	return r.URL.Path
}

// pingOf reads the last word of a ping's path.
func pingOf(what string) (job.Ping, bool) {
	switch what {
	case "", "ok":
		return job.Ping{Sort: job.PingOK}, true
	case "start":
		return job.Ping{Sort: job.PingStart}, true
	case "fail":
		return job.Ping{Sort: job.PingFail}, true
	}
	n, err := strconv.ParseUint(what, 10, 8)
	if err != nil {
		return job.Ping{}, false
	}
	code := int(n)
	p := job.Ping{Sort: job.PingOK, ExitCode: &code}
	if code != 0 {
		p.Sort = job.PingFail
	}
	return p, true
}

// readOutput reads a body: its head and its tail where it is long, and how long it was. One that breaks off is what came of it.
func readOutput(body io.Reader) (string, int64) {
	const half = job.MaxPingOutput / 2
	head, _ := io.ReadAll(io.LimitReader(body, half))
	n := int64(len(head))
	var tail []byte
	buf := make([]byte, 32<<10)
	for n < maxBody {
		k, err := body.Read(buf)
		n += int64(k)
		if tail = append(tail, buf[:k]...); len(tail) > 2*half {
			tail = append(tail[:0], tail[len(tail)-half:]...)
		}
		if err != nil {
			break
		}
	}
	if len(tail) > half {
		tail = tail[len(tail)-half:]
	}
	return string(head) + string(tail), n
}

// remoteAddr is the address from which a request came; forwarding headers are not trusted.
func remoteAddr(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	if a, err := netip.ParseAddr(host); err == nil {
		return a.Unmap().WithZone("").String()
	}
	return host
}

// buckets count what comes from whom. When there are too many of them they are forgotten together.
type buckets struct {
	mu sync.Mutex
	of map[string]bucket
}

type bucket struct {
	left float64
	at   time.Time
}

// take tells whether one more may come: size at once, then rate a second.
func (b *buckets) take(who string, size, rate float64, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.of == nil || len(b.of) >= maxPingers {
		b.of = map[string]bucket{}
	}
	one, ok := b.of[who]
	if !ok {
		one = bucket{size, now}
	}
	one.left = math.Min(size, one.left+rate*now.Sub(one.at).Seconds())
	one.at = now
	if one.left < 1 {
		b.of[who] = one
		return false
	}
	one.left--
	b.of[who] = one
	return true
}

type hostKey struct{}

// hosted notes by which address the server was asked.
func hosted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scheme := "http"
		if r.TLS != nil {
			scheme = "https"
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), hostKey{}, scheme+"://"+r.Host)))
	})
}

// pingURL is where pings are sent: where people reach the server, else where this one was reached.
func (s *server) pingURL(ctx context.Context) string {
	if s.external != "" {
		return strings.TrimSuffix(s.external, "/")
	}
	host, _ := ctx.Value(hostKey{}).(string)
	return host
}
