package harness

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

// PKI makes an authority in a folder, and certificates by name and addresses, as docs/high-availability.md says.
func PKI(t *testing.T, rota, dir string, machines map[string][]string) {
	t.Helper()
	run := func(args ...string) {
		t.Helper()
		if out, err := exec.Command(rota, args...).CombinedOutput(); err != nil {
			t.Fatalf("rota %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	run("pki", "init", dir)
	for name, addrs := range machines {
		run(append([]string{"pki", "issue", dir, name}, addrs...)...)
	}
}

// EtcdTLS are the flags by which a machine shows who it is.
func EtcdTLS(dir, name string) []string {
	return []string{"--etcd-ca", filepath.Join(dir, "ca.pem"), "--etcd-cert", filepath.Join(dir, name+".pem"), "--etcd-key", filepath.Join(dir, name+".key")}
}

// Records reads all records of a task.
func Records(ctx context.Context, c *client.Client, ref job.TaskRef) (list []job.ExecutionRecord, err error) {
	for r, err := range c.EachRecord(ctx, job.RecordFilter{Group: ref.Group, Task: ref.Name, Limit: 1000}) {
		if err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, nil
}

// Covering are the records that account for an instant.
func Covering(all []job.ExecutionRecord, i time.Time) (list []job.ExecutionRecord) {
	for _, r := range all {
		if !r.Instant.IsZero() && r.Covers(i) {
			list = append(list, r)
		}
	}
	return list
}
