//go:build linux

package store

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rota-dev/rota/job"
)

// In a process of its own, for an etcd that panics leaves goroutines behind.
func TestFirstStartOnAFullDisk(t *testing.T) {
	const where = "ROTA_TEST_FULL_DISK"
	if dir := os.Getenv(where); dir != "" {
		_, err := Embed(t.Context(), EmbedOptions{Dir: dir})
		fmt.Printf("%s: %v\n", job.CodeOf(err), err)
		os.Exit(0)
	}
	if os.Getuid() != 0 {
		t.Skip("only root can mount a disk that is full soon")
	}
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=8m"); err != nil {
		t.Skip("no file system can be mounted here:", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(disk, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), where+"="+filepath.Join(disk, "etcd"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, want := range []string{string(job.CodeUnavailable) + ": ", "no space left on device", "make room"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("nothing says %q: %s", want, out)
		}
	}
}
