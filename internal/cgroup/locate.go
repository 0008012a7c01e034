//go:build linux

package cgroup

import (
	"path"
	"slices"
	"strconv"
	"strings"
)

// place is where a hierarchy is mounted, and the group of this process in it; both as directories.
type place struct{ mount, own string }

// layout is what hierarchies there are.
type layout struct {
	v2 *place
	v1 map[string]place // by controller
}

// locate reads /proc/self/mountinfo and /proc/self/cgroup. Hierarchies that are not mounted, or in which this process is outside
// what is mounted, are left out.
func locate(mountinfo, self string) layout {
	paths := map[string]string{} // by controller; "" for version 2
	for line := range strings.Lines(self) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(fields) != 3 {
			continue
		}
		for controller := range strings.SplitSeq(fields[1], ",") {
			paths[controller] = fields[2]
		}
	}
	l := layout{v1: map[string]place{}}
	for line := range strings.Lines(mountinfo) {
		before, after, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " - ")
		mount, super := strings.Fields(before), strings.Fields(after)
		if !ok || len(mount) < 5 || len(super) < 3 {
			continue
		}
		root, point := unescape(mount[3]), unescape(mount[4])
		switch super[0] {
		case "cgroup2":
			if p, ok := inMount(root, point, paths[""]); ok && l.v2 == nil {
				l.v2 = &p
			}
		case "cgroup":
			for controller := range strings.SplitSeq(super[2], ",") {
				if _, known := paths[controller]; !known || !slices.Contains(controllers, controller) {
					continue
				}
				if p, ok := inMount(root, point, paths[controller]); ok {
					l.v1[controller] = p
				}
			}
		}
	}
	return l
}

// inMount is where the group at path is, of a hierarchy of which root is mounted at point.
func inMount(root, point, group string) (place, bool) {
	if group == "" || strings.Contains(group, "..") || strings.Contains(root, "..") {
		return place{}, false // outside the cgroup namespace
	}
	if root != "/" {
		if group != root && !strings.HasPrefix(group, root+"/") {
			return place{}, false
		}
		group = strings.TrimPrefix(group, root)
	}
	return place{mount: point, own: path.Join(point, group)}, true
}

// unescape undoes what the kernel does to blanks in mountinfo: \040 and the like.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
