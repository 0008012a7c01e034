package store

import (
	"testing"

	"github.com/rota-dev/rota/job"
)

// What is written in the place of something is refused where another version has come meanwhile, or none is there any more; what is
// made is refused where it is there already. The key then stands as it stood. // ancestor 18, ancestor 19
func TestOpsOnOldNews(t *testing.T) {
	backends(t, func(t *testing.T, fx *fixture) {
		ctx, s := t.Context(), fx.client()
		entry := func(rev int64) *job.TaskEntry { e := testTask("a"); e.Revision = rev; return e }
		node := func(rev int64) *job.Node { return &job.Node{ID: "n1", CreatedAt: day, Revision: rev} }
		fact := func(rev int64) *job.Fact { return &job.Fact{Task: job.Ref("", "a"), Node: "n1", Revision: rev} }
		config := &Config{Key: "A", Value: "1"}
		hash := testJob("backup", "n1").Hash
		for _, c := range []struct {
			name, key string
			op        func(rev int64) Op // on the version of that revision; 0: on none
			creates   bool               // the op is only for where there is none
			deletes   bool               // it removes: then it is also done where there is none
		}{
			{name: "put job", key: "jobs/n1/" + hash, op: func(rev int64) Op { return PutJob(testJob("backup", "n1"), rev) }},
			{name: "delete job", key: "jobs/n1/" + hash, op: func(rev int64) Op { return DeleteJob("n1", hash, rev) }, deletes: true},
			{name: "put task", key: "tasks/default/a", op: func(rev int64) Op { return PutTask(entry(rev)) }},
			{name: "put node", key: "nodes/n1", op: func(rev int64) Op { return PutNode(node(rev)) }},
			{name: "put fact", key: "facts/default/a/n1", op: func(rev int64) Op { return PutFact(fact(rev)) }},
			{name: "put config", key: "config/global/A", op: func(rev int64) Op { return PutConfig(config, rev) }},
			{name: "delete config", key: "config/global/A", op: func(rev int64) Op { return DeleteConfig("", "A", rev) }, deletes: true},
			{name: "dispatch", key: "dispatch/n1/r1", op: func(int64) Op { return CreateDispatch(testDispatch("r1", "n1")) }, creates: true},
			{name: "take back", key: "dispatch/n1/r1", op: func(rev int64) Op { return DeleteDispatch("n1", "r1", rev) }, deletes: true},
			{name: "kill", key: "kills/n1/r1", op: func(int64) Op { return CreateKill(&job.Kill{Run: "r1", Node: "n1", By: "x", At: day}) }, creates: true},
			{name: "delete record", key: "records/n1/r1", op: func(rev int64) Op { return DeleteRecord("n1", "r1", rev) }, deletes: true},
		} {
			do := func(op Op) bool {
				t.Helper()
				done, err := s.Do(ctx, op)
				if err != nil {
					t.Fatalf("%s: %v", c.name, err)
				}
				return done[0]
			}
			read := func() (v string, rev int64) {
				if kv := fx.read(c.key); kv != nil {
					return string(kv.value), kv.mod
				}
				return "", 0
			}
			fx.write(c.key, "first")
			_, first := read()
			fx.write(c.key, "second")
			_, second := read()
			if do(c.op(first)) {
				t.Errorf("%s: done in the place of what it has not seen", c.name)
			}
			if v, rev := read(); v != "second" || rev != second {
				t.Errorf("%s: refused, yet there is %q of revision %d", c.name, v, rev)
			}
			if c.creates {
				continue
			}
			if !c.deletes && do(c.op(0)) {
				t.Errorf("%s: made where it was", c.name)
			}
			if !do(c.op(second)) {
				t.Errorf("%s: refused on what it has seen", c.name)
			}
			if v, _ := read(); v == "second" || c.deletes && v != "" {
				t.Errorf("%s: done, yet there is %q", c.name, v)
			}
			if c.deletes {
				continue
			}
			if _, err := fx.kv.Txn(ctx, &txn{then: []request{{action: del, key: fx.prefix + c.key}}}); err != nil {
				t.Fatal(err)
			}
			if do(c.op(second)) || fx.read(c.key) != nil {
				t.Errorf("%s: what is gone was brought back", c.name)
			}
		}
	})
}
