package chaos

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rota-dev/rota/test/harness"
)

// hub is where the test itself is, with PostgreSQL.
const hub = "10.77.0.1"

// world is the folder and the networks in which a test runs its machines. The networks and file systems are removed when the test ends: another one
// may have a world of the same names after it. The folder is the world's own, and stays until all tests have ended.
type world struct {
	t        *testing.T
	dir      string
	machines []*machine
}

// machine is a network of its own with a program in it.
type machine struct {
	name, addr string
	dir        string // with the program, its clock and its data
	data       string
	p          *harness.Process
	clock      []byte // by how much it is off, shared with the program
	device     string // of the data, as major:minor; empty: it can't be slowed down
	w          *world
}

// newWorld is the world outside which the test is not; it is skipped where there is none.
func newWorld(t *testing.T) *world {
	t.Helper()
	if why := os.Getenv(whyVar); why != "" {
		t.Skipf("%s: there is no cluster to make trouble for", why)
	}
	w := &world{t: t, dir: makeFolder(t)}
	w.must("", "ip", "link", "set", "lo", "up")
	w.must("", "ip", "link", "add", "hub", "type", "bridge")
	w.after("ip", "link", "delete", "hub")
	w.must("", "ip", "addr", "add", hub+"/24", "dev", "hub")
	w.must("", "ip", "link", "set", "hub", "up")
	return w
}

// makeFolder makes the folder of a world, with the programs.
func makeFolder(t *testing.T) string {
	t.Helper()
	all := os.Getenv(worldVar)
	dir, err := os.MkdirTemp(all, "world-")
	if err == nil {
		err = os.Chmod(dir, 0o755) // PostgreSQL is another user
	}
	for _, program := range []string{"rota", "witness"} {
		if err == nil {
			err = os.Link(filepath.Join(all, program), filepath.Join(dir, program))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// after runs a tool, which can't fail, when the test has ended and its programs with it.
func (w *world) after(name string, args ...string) {
	w.t.Cleanup(func() {
		if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
			w.t.Errorf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
		}
	})
}

// must runs a tool, which can't fail; in is what it reads.
func (w *world) must(in string, name string, args ...string) string {
	w.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(in)
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// machine makes one, with an address in the network of all. What arrives from whom is in the set "deaf" is dropped without a word.
func (w *world) machine(name string, number int) *machine {
	w.t.Helper()
	m := &machine{name: name, addr: fmt.Sprintf("10.77.0.%d", number), dir: filepath.Join(w.dir, name), w: w}
	m.data = filepath.Join(m.dir, "data")
	if err := os.MkdirAll(m.data, 0o700); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Link(filepath.Join(w.dir, "rota"), filepath.Join(m.dir, "rota")); err != nil {
		w.t.Fatal(err)
	}
	m.openClock()
	w.must("", "ip", "netns", "add", name)
	w.after("ip", "netns", "delete", name)
	w.must("", "ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
	w.after("ip", "link", "delete", name) // what still runs in there keeps the network, without a way out
	w.must("", "ip", "link", "set", name, "master", "hub", "up")
	for _, args := range [][]string{{"addr", "add", m.addr + "/24", "dev", "eth0"}, {"link", "set", "eth0", "up"}, {"link", "set", "lo", "up"}} {
		w.must("", "ip", append([]string{"-n", name}, args...)...)
	}
	m.nft("table inet cut {\n set deaf { type ipv4_addr; }\n chain in { type filter hook input priority 0; policy accept;\n ip saddr @deaf drop\n }\n}\n")
	w.machines = append(w.machines, m)
	return m
}

func (m *machine) nft(script string) {
	m.w.t.Helper()
	m.w.must(script, "nsenter", "--net=/run/netns/"+m.name, "nft", "-f", "-")
}

// deafTo lets a machine hear nothing from addresses.
func (m *machine) deafTo(addrs ...string) {
	m.w.t.Helper()
	if len(addrs) > 0 {
		m.nft("add element inet cut deaf { " + strings.Join(addrs, ", ") + " }\n")
	}
}

// hear ends that for all addresses.
func (m *machine) hear() {
	m.w.t.Helper()
	m.nft("flush set inet cut deaf\n")
}

// openClock makes the file that says by how much the machine's clock is off.
func (m *machine) openClock() {
	f, err := os.Create(filepath.Join(m.dir, "clock"))
	if err != nil {
		m.w.t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(8); err != nil {
		m.w.t.Fatal(err)
	}
	if m.clock, err = unix.Mmap(int(f.Fd()), 0, 8, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		m.w.t.Fatal(err)
	}
}

// setClock sets by how much the wall clock of everything on the machine is off.
func (m *machine) setClock(off time.Duration) { binary.NativeEndian.PutUint64(m.clock, uint64(off)) }

// run makes the machine's program, which is not started yet.
func (m *machine) run(args ...string) {
	args = append([]string{"--net=/run/netns/" + m.name, filepath.Join(m.dir, "rota")}, append(args, "--name", m.name, "--data", m.data)...)
	m.p = harness.New(m.w.t, m.dir, m.name, "nsenter", args...)
}

// onDisk puts the machine's data on a file system of its own, on a device that can be slowed down.
func (m *machine) onDisk(megabytes int64) {
	t, image := m.w.t, filepath.Join(m.dir, "disk")
	t.Helper()
	f, err := os.Create(image)
	if err == nil {
		err = errors.Join(f.Truncate(megabytes<<20), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	m.w.must("", "mkfs.ext4", "-q", "-O", "^has_journal", image)
	m.w.must("", "mount", "-o", "loop", image, m.data)
	m.w.after("umount", "--lazy", m.data) // what still runs may be in it
	var st unix.Stat_t
	if err := unix.Stat(m.data, &st); err != nil {
		t.Fatal(err)
	}
	m.device = fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))
}

// slow limits how many writes a second the machine's disk takes from its program; 0: no limit. The limit stands in a control group (of the first
// version) of the test's own, where the kernel has such.
func (m *machine) slow(writes int) error {
	group := os.Getenv(groupVar)
	if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), fmt.Append(nil, m.p.Pid()), 0); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(group, "blkio.throttle.write_iops_device"), fmt.Appendf(nil, "%s %d", m.device, writes), 0)
}

// inMemory puts the machine's data on a small file system, which can be filled.
func (m *machine) inMemory(megabytes int) {
	m.w.t.Helper()
	m.w.must("", "mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%dm,mode=0700", megabytes), "none", m.data)
	m.w.after("umount", "--lazy", m.data) // what still runs may be in it
}

// fill takes all that is left on the machine's disk.
func (m *machine) fill() error {
	f, err := os.Create(filepath.Join(m.data, "ballast"))
	if err != nil {
		return err
	}
	defer f.Close()
	for size := 1 << 20; size >= 512; {
		if _, err := f.Write(make([]byte, size)); errors.Is(err, unix.ENOSPC) {
			size /= 2
		} else if err != nil {
			return err
		}
	}
	return nil
}

// free ends that.
func (m *machine) free() { os.Remove(filepath.Join(m.data, "ballast")) }

// forward lets the machines reach a server on the loopback interface of the hub. It returns its address there.
func (w *world) forward(to string) string {
	w.t.Helper()
	l, err := net.Listen("tcp", hub+":0")
	if err != nil {
		w.t.Fatal(err)
	}
	var mu sync.Mutex
	var open []net.Conn
	var wg sync.WaitGroup
	w.t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				continue
			}
			mu.Lock()
			open = append(open, in, out)
			mu.Unlock()
			for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
				wg.Go(func() {
					_, _ = io.Copy(way[0], way[1])
					way[0].Close()
					way[1].Close()
				})
			}
		}
	})
	return l.Addr().String()
}
