package cluster_test

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/internal/history/pgtest"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/test/port"
)

// step is a line of a document: a command on a machine.
type step struct {
	machine string
	args    []string
}

// steps reads the commands under a heading of a document.
func steps(t *testing.T, file, heading string) (list []step) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, text, ok := strings.Cut(string(b), "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("%s has no %q", file, heading)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	for _, l := range strings.Split(text, "\n") {
		if machine, command, ok := strings.Cut(l, "$ "); ok && len(machine) == 1 {
			list = append(list, step{machine, strings.Fields(command)})
		}
	}
	return list
}

// estate is what the document's machines, addresses and folders are in a test.
type estate struct {
	t       *testing.T
	dir, db string
	addrs   map[string]string // by those in the document
	servers map[string]*process
	env     []string
}

var documented = regexp.MustCompile(`10\.0\.0\.\d:\d+|10\.0\.0\.\d`)

// real is a word of a command as it is in the test.
func (e *estate) real(machine, word string) string {
	word = strings.ReplaceAll(word, "postgres://rota:secret@10.0.0.9/rota", e.db)
	word = documented.ReplaceAllStringFunc(word, func(at string) string {
		if !strings.Contains(at, ":") {
			return "127.0.0.1"
		}
		if e.addrs[at] == "" {
			e.addrs[at] = port.Must(e.t)
		}
		return e.addrs[at]
	})
	word = strings.ReplaceAll(word, "/var/lib/", filepath.Join(e.dir, machine)+"/")
	if word == "pki" || strings.HasPrefix(word, "pki/") {
		word = filepath.Join(e.dir, word)
	}
	return word
}

// do carries out a step.
func (e *estate) do(s step) {
	t := e.t
	t.Helper()
	t.Logf("%s$ %s", s.machine, strings.Join(s.args, " "))
	if s.args[0] == "systemctl" {
		unit := s.machine + "/" + s.args[2]
		if e.servers[unit] == nil {
			t.Fatalf("nothing of %s runs", unit)
		}
		e.servers[unit].Stop()
		return
	}
	args := []string{s.args[1]} // the command itself
	for _, w := range s.args[2:] {
		args = append(args, e.real(s.machine, w))
	}
	unit := s.machine + "/rota"
	switch args[0] {
	case "node":
		unit += "-node"
	case "up", "master":
		if !slices.Contains(args, "--listen") {
			e.addrs["the default"] = port.Must(t)
			args = append(args, "--listen", e.addrs["the default"])
		}
	default:
		e.command(args...)
		return
	}
	if old := e.servers[unit]; old != nil && old.Alive() {
		t.Fatalf("%s runs already", unit)
	}
	p := newProcess(t, strings.ReplaceAll(unit, "/", "-"), rotaBin, append(args, "--lease", lease.String())...)
	p.Start()
	e.servers[unit] = p
	if args[0] != "node" {
		e.ready(args)
	}
}

// command runs a command to its end. It may be refused for a moment, while a master that was just started takes its place.
func (e *estate) command(args ...string) string {
	e.t.Helper()
	cmd := exec.Command(rotaBin, args...)
	cmd.Env = append(os.Environ(), e.env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		e.t.Fatalf("rota %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	e.t.Logf("%s", out)
	return string(out)
}

// ready waits for the master that was started with args.
func (e *estate) ready(args []string) {
	e.t.Helper()
	url := "http://"
	if slices.Contains(args, "--tls-cert") {
		url = "https://"
	}
	url += args[slices.Index(args, "--listen")+1]
	c := e.client(url)
	waitReady(e.t, c)
}

func (e *estate) token() string {
	return filepath.Join(e.dir, "a", "rota", "admin.token")
}

// client trusts the authority that was made on the way.
func (e *estate) client(servers string) *client.Client {
	e.t.Helper()
	eventually(e.t, 20*time.Second, "the token is written", func() error { _, err := os.Stat(e.token()); return err })
	token, err := os.ReadFile(e.token())
	if err != nil {
		e.t.Fatal(err)
	}
	o := client.Options{Server: servers, Token: strings.TrimSpace(string(token))}
	if pem, err := os.ReadFile(filepath.Join(e.dir, "pki", "ca.pem")); err == nil {
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(pem)
		tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
		e.t.Cleanup(tr.CloseIdleConnections)
		o.Transport = tr
	}
	c, err := client.New(o)
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(c.Close)
	return c
}

// One machine grows to a cluster and leaves it, as the document says, while tasks fire each second: every instant has its one outcome
// in the new history, those of before the move too.
func TestGrowing(t *testing.T) {
	t.Parallel()
	db := pgtest.Start(t).Database(t)
	j := newJournal(t)
	e := &estate{t: t, dir: t.TempDir(), db: db, addrs: map[string]string{}, servers: map[string]*process{}}
	walk := steps(t, filepath.Join("..", "..", "docs", "high-availability.md"), "Growing")
	if len(walk) < 20 {
		t.Fatalf("the document has %d steps", len(walk))
	}
	e.do(walk[0])
	c := e.client("http://" + e.addrs["the default"])
	if _, err := c.Apply(t.Context(), tasksFor(j), client.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	tick, solo := job.Ref("", "tick"), job.Ref("", "solo")
	var servers []string
	for _, at := range []string{"10.0.0.1:7682", "10.0.0.2:7682", "10.0.0.3:7682"} {
		servers = append(servers, "https://"+e.real("", at))
	}
	e.env = []string{
		"ROTA_SERVER=" + strings.Join(servers, ","), "SSL_CERT_FILE=" + filepath.Join(e.dir, "pki", "ca.pem"), "ROTA_DATA=" + filepath.Join(e.dir, "a", "rota"),
	}
	for _, s := range walk[1:] {
		e.do(s)
		time.Sleep(time.Second) // firings go on
	}

	c = e.client(strings.Join(servers, ","))
	first, end := begin.Add(time.Second), time.Now().Add(2*time.Second)
	settled(t, c, time.Minute, first, end, tick, solo)
	j.judge(t, c, judgement{tick, every, first, end})
	j.judge(t, c, judgement{solo, every, first, end})
	for _, o := range j.overlaps(t, "solo") {
		t.Error(o)
	}
	members, err := c.Members(t.Context())
	if err != nil || len(members) != 2 || members[0].Name != "b" || members[1].Name != "c" || !members[0].Voter || !members[1].Voter {
		t.Errorf("the members are %+v, %v", members, err)
	}
	all, err := c.Masters(t.Context())
	if err != nil || len(all) != 2 || !all[0].Leader {
		t.Errorf("the masters are %+v, %v", all, err)
	}
	totals, err := c.Stats(t.Context(), job.StatsFilter{Group: "default", Task: "tick"})
	if err != nil || len(totals) != 1 || totals[0].Count[job.Success] < int64(time.Since(begin).Seconds()/3) {
		t.Errorf("the statistics are %+v, %v", totals, err)
	}
	for unit, p := range e.servers {
		if !strings.HasPrefix(unit, "a/") && !p.Alive() {
			t.Errorf("%s has ended", unit)
		}
	}
}
