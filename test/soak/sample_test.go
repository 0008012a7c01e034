//go:build linux

package soak

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/rota-dev/rota/test/harness"
)

// sample is what the cluster holds at one moment, by name.
type sample map[string]float64

// take takes a sample.
func (cl *cluster) take() (sample, error) {
	s := sample{}
	roots := []int{}
	for _, m := range cl.all {
		s.process(m.Name, m.Pid())
		roots = append(roots, m.Pid())
		for _, pid := range harness.Guards(m.data) {
			s.process(m.Name+" guard", pid)
			roots = append(roots, pid)
		}
		n, err := cl.told(m, "go_goroutines")
		if err != nil {
			return nil, err
		}
		s[m.Name+" goroutines"] = n
		if s[m.Name+" heap"], err = cl.told(m, "go_memstats_heap_inuse_bytes"); err != nil {
			return nil, err
		}
	}
	var err error
	if s["etcd database"], err = cl.told(cl.all[0], "etcd_mvcc_db_total_size_in_bytes"); err != nil {
		return nil, err
	}
	if s["etcd database in use"], err = cl.told(cl.all[0], "etcd_mvcc_db_total_size_in_use_in_bytes"); err != nil {
		return nil, err
	}
	ctx := cl.t.Context()
	leases, err := cl.etcd.Leases(ctx)
	if err != nil {
		return nil, err
	}
	s["etcd leases"] = float64(len(leases.Leases))
	keys, err := cl.etcd.Get(ctx, "/rota/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		return nil, err
	}
	s["etcd keys"] = float64(keys.Count)
	s["temporary files"], _ = files(cl.tmp)
	for _, m := range cl.all[1:] {
		s[m.Name+" files"], s[m.Name+" disk"] = files(m.data)
	}
	s["processes"], s["zombies"] = family(roots)
	s["groups"] = float64(len(groupsOf(roots)))
	return s, nil
}

// process adds what the kernel knows of a process. One that has ended holds nothing.
func (s sample) process(name string, pid int) {
	dir := "/proc/" + strconv.Itoa(pid)
	fds, _ := os.ReadDir(dir + "/fd")
	threads, _ := os.ReadDir(dir + "/task")
	s[name+" descriptors"] += float64(len(fds))
	s[name+" threads"] += float64(len(threads))
	if b, err := os.ReadFile(dir + "/statm"); err == nil {
		if f := strings.Fields(string(b)); len(f) > 1 {
			pages, _ := strconv.Atoi(f[1])
			s[name+" rss"] += float64(pages * os.Getpagesize())
		}
	}
}

// files counts the files below a folder, and their bytes. Those that vanish meanwhile are not there.
func files(dir string) (n, size float64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // it has gone
		}
		if !d.IsDir() {
			n++
			if i, err := d.Info(); err == nil {
				size += float64(i.Size())
			}
		}
		return nil
	})
	return n, size
}

// family counts the processes that descend from roots, these among them, and the zombies among them.
func family(roots []int) (alive, zombies float64) {
	type proc struct {
		parent int
		zombie bool
	}
	all := map[int]proc{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, f := range stats {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		at := bytes.LastIndexByte(b, ')') // the name before it may hold anything
		if at < 0 {
			continue
		}
		field := strings.Fields(string(b[at+1:]))
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		parent, _ := strconv.Atoi(field[1])
		all[pid] = proc{parent, field[0] == "Z"}
	}
	for pid, p := range all {
		for up := pid; up > 1; up = all[up].parent {
			if slices.Contains(roots, up) {
				if p.zombie {
					zombies++
				} else {
					alive++
				}
				break
			}
		}
	}
	return alive, zombies
}

// groupsOf lists the control groups of processes: the trees that bear their numbers, with their leaves.
func groupsOf(pids []int) (list []string) {
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // it has gone
		}
		if d.IsDir() {
			for _, pid := range pids {
				if strings.Contains(path, fmt.Sprintf("/rota-%d-", pid)) {
					list = append(list, path)
				}
			}
		}
		return nil
	})
	return list
}
