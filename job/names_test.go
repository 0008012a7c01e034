package job_test

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/rota-dev/rota/job"
)

// ancestors 59, 62: a name is safe as a part of a key, a path and an address, wherever it comes from.
func TestCheckName(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"a", "0", "Nightly-Backup_2.sql", "10.0.0.1", strings.Repeat("x", job.MaxName)} {
		if err := job.CheckName("task", good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", ".", "..", "-a", "a-", "_a", "a.", "a/b", "a b", "a\n", "a\x00b", "a;b", "$(a)", "a'b", "ä", "a\u00ad", "%2e", strings.Repeat("x", job.MaxName+1),
	} {
		if err := job.CheckName("task", bad); job.CodeOf(err) != job.CodeInvalid {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// ancestor 55: what belongs to task1 is not below what belongs to task10: names end where the separator is.
func TestKeysDoNotContainEachOther(t *testing.T) {
	t.Parallel()
	a, b := job.CreateJobKey("n1", "x")+"/", job.CreateJobKey("n10", "x")+"/"
	if strings.HasPrefix(b, a) || job.Ref("g", "task1").String()+"/" == job.Ref("g", "task10").String()[:len("g/task1/")] {
		t.Error(a, b)
	}
}

// The digests are keys in etcd and names of records in history: they must never change.
func TestDigestsAreStable(t *testing.T) {
	t.Parallel()
	task := job.Ref("default", "nightly-backup")
	instant := time.Date(2026, 12, 1, 2, 30, 0, 0, time.UTC)
	for _, c := range []struct{ got, want string }{
		{job.JobHash(task, "node1"), "fm4g50z0c1ps17cf06s5k2v9"},
		{string(job.FiringID(task, "node1", instant)), "9bk3egb6s1m3v9ysz7rsst0v"},
		{string(job.FiringID(task, "", instant)), "1a5kr4abwskpwyfhrzd52hr4"},
		{string(job.CauseID("record-1", job.JobHash(task, "node1"))), "t04zh4j0rb2zq70vxpt2ynwt"},
		{job.FormatInstant(instant.In(time.FixedZone("", 3600))), "2026-12-01T02:30:00Z"},
		{job.CreateJobKey("node1", "h1"), "jobs/node1/h1"},
		{(&job.Process{NodeID: "n", Group: "g", JobID: "j", ID: "7"}).Key(), "proc/n/g/j/7"},
	} {
		if c.got != c.want {
			t.Errorf("found %s, want %s", c.got, c.want)
		}
	}
	if got := job.FiringID(task, "node1", instant.Add(time.Millisecond)); got != job.FiringID(task, "node1", instant) {
		t.Error("an instant has whole seconds")
	}
	if job.JobHash(job.Ref("a", "bc"), "d") == job.JobHash(job.Ref("ab", "c"), "d") {
		t.Error("the parts run into each other")
	}
}

func TestFiring(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 12, 1, 2, 30, 0, 0, time.UTC)
	a, b := &job.Job{Group: "g", Name: "t", NodeID: "a"}, &job.Job{Group: "g", Name: "t", NodeID: "b"}
	if a.Firing(at) == b.Firing(at) {
		t.Error("each node runs an instant of a common task")
	}
	a.Kind, b.Kind = job.KindInterval, job.KindInterval
	if a.Firing(at) != b.Firing(at) {
		t.Error("one node runs an instant of an interval task")
	}
}

var names = rapid.StringMatching(`[A-Za-z0-9]([A-Za-z0-9._-]{0,20}[A-Za-z0-9])?`)

func TestNamesAndKeysInvert(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		group, name, node, pid := names.Draw(t, "group"), names.Draw(t, "name"), names.Draw(t, "node"), names.Draw(t, "pid")
		ref := job.Ref(group, name)
		if got, err := job.ParseRef(ref.String()); err != nil || got != ref {
			t.Fatal(got, err)
		}
		hash := job.JobHash(ref, job.NodeID(node))
		if err := job.CheckName("job", hash); err != nil {
			t.Fatal(err)
		}
		if got := job.GetIDFromKey("/rota/v1/" + job.CreateJobKey(job.NodeID(node), hash)); got != hash {
			t.Fatal(got)
		}
		p := &job.Process{NodeID: job.NodeID(node), Group: group, JobID: hash, ID: pid}
		got, err := job.GetProcFromKey("/rota/v1/" + p.Key())
		if err != nil || *got != *p {
			t.Fatal(got, err)
		}
		at := time.Unix(rapid.Int64Range(-1<<33, 1<<37).Draw(t, "at"), 0).UTC()
		if back, err := job.ParseInstant(job.FormatInstant(at)); err != nil || !back.Equal(at) {
			t.Fatal(at, back, err)
		}
	})
}

func TestGetProcFromKeyRefuses(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", "proc/", "proc/n/g/j", "proc/n/g/j/1/2", "proc/n//j/1", "jobs/n/x", "/rota/v1/process/n/g/j/1"} {
		if p, err := job.GetProcFromKey(bad); job.CodeOf(err) != job.CodeInvalid {
			t.Errorf("%q: %v, %v", bad, p, err)
		}
	}
}

func FuzzParseRef(f *testing.F) {
	for _, s := range []string{"", "a", "g/a", "g/a/b", "/a", "g/", "ä/b", "../x", "a\x00/b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ref, err := job.ParseRef(s)
		if err != nil {
			return
		}
		if strings.Count(ref.String(), "/") != 1 || strings.Contains(ref.String(), "..") && !strings.Contains(s, "..") {
			t.Fatal(s, ref)
		}
		if back, err := job.ParseRef(ref.String()); err != nil || back != ref {
			t.Fatal(ref, back, err)
		}
		key := (&job.Process{NodeID: "n", Group: ref.Group, JobID: ref.Name, ID: "1"}).Key()
		if p, err := job.GetProcFromKey(key); err != nil || p.Group != ref.Group || p.JobID != ref.Name {
			t.Fatal(key, p, err)
		}
	})
}
