//go:build unix

package policy

import (
	"io/fs"
	"syscall"
)

// owner is the uid to whom a file belongs.
func owner(info fs.FileInfo) (uid int, ok bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(st.Uid), true
}
