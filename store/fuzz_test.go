package store

import (
	"fmt"
	"testing"
)

// readBack reads a document of a kind; what was read has the same key, and reads the same when it is written again.
func readBack[T any](k *kind[T]) func(key string, data []byte) error {
	return func(key string, data []byte) error {
		v, err := k.unmarshal(key, &keyValue{value: data, mod: 3, create: 2})
		if err != nil {
			return nil //nolint:nilerr // refused, and told
		}
		at, once, err := k.marshal(v)
		if err != nil {
			return nil //nolint:nilerr // such as a document that became too long
		}
		if at != key {
			return fmt.Errorf("%s: what was read at %q stands at %q", k.sort, key, at)
		}
		back, err := k.unmarshal(at, &keyValue{value: once, mod: 3, create: 2})
		if err != nil {
			return nil //nolint:nilerr // a document of which not all is there, and a kind that is not validated: it is refused the next time
		}
		if _, twice, err := k.marshal(back); err != nil || string(twice) != string(once) {
			return fmt.Errorf("%s: %q is written as\n%s\nand that as\n%s: %w", k.sort, data, once, twice, err)
		}
		return nil
	}
}

// Whatever stands in etcd under whatever key, it is refused or read.
func FuzzDocument(f *testing.F) {
	kinds := []func(string, []byte) error{
		readBack(taskKind), readBack(nodeKind), readBack(onlineKind), readBack(jobKind), readBack(dispatchKind), readBack(killKind), readBack(processKind),
		readBack(recordKind), readBack(claimKind), readBack(lockKind), readBack(floorKind), readBack(configKind), readBack(calendarKind), readBack(clockKind),
		readBack(replaceKind), readBack(followKind), readBack(tokenKind), readBack(masterKind), readBack(backfillKind), readBack(waitingKind),
		readBack(factKind), readBack(executionKind), readBack(groupStateKind), readBack(pingKind),
	}
	for key, document := range map[string]string{
		"tasks/default/a":                       `{"task":{"name":"a","group":"default","command":["x"],"timer":"@daily"},"generation":1}`,
		"nodes/n1":                              `{"id":"n1","labels":{"a":"b"}}`,
		"online/n1":                             `{"node":"n1","session":"s"}`,
		"jobs/n1/0123456789abcdef01234567":      `{"hash":"0123456789abcdef01234567","name":"a","group":"default","node_id":"n1","argv":["x"],"rule":{"mode":"cycle","timer":"@daily"}}`,
		"dispatch/n1/r1":                        `{"node":"n1","run":"r1","task":"default/a","trigger":"run"}`,
		"kills/n1/r1":                           `{"node":"n1","run":"r1","by":"me"}`,
		"proc/n1/default/j/4711":                `{"id":"4711","job_id":"j","group":"default","node_id":"n1","name":"a"}`,
		"records/n1/r1":                         `{"id":"r1","task_id":"default/a","group":"default","name":"a","node":"n1","outcome":"success"}`,
		"claims/default/a/2026-12-01T00:00:00Z": `{"task":"default/a","instant":"2026-12-01T00:00:00Z","node":"n1","session":"s"}`,
		"locks/default/a":                       `{"task":"default/a","node":"n1"}`,
		"settled/default/a":                     `2026-12-01T00:00:00Z`,
		"config/global/K":                       `{"key":"K","value":"v"}`,
		"config/group/g/K":                      `{"group":"g","key":"K","deleted_at":"2026-12-01T00:00:00Z"}`,
		"calendars/c":                           `{"calendar":{"name":"c","ranges":["2026-12-25"]}}`,
		"clocks/n1":                             `{"node":"n1","at":"2026-12-01T00:00:00Z"}`,
		"replace/n1/r1":                         `{"node":"n1","run":"r1"}`,
		"follow/n1/f1":                          `{"node":"n1","id":"f1"}`,
		"tokens/t1":                             `{"id":"t1","role":"admin"}`,
		"masters/m1":                            `{"id":"m1"}`,
		"backfills/default/a/b1":                `{"id":"b1"}`,
		"waiting/default/a/r1":                  `{"run":"r1","task":"default/a"}`,
		"facts/default/a/-":                     `{"at":"2026-12-01T00:00:00Z"}`,
		"executions/g/e1":                       `{"id":"e1","group":"g","steps":{}}`,
		"groupstates/g":                         `{"group":"g"}`,
		"pings/m":                               `{"name":"m"}`,
		"nodes/n2":                              `{"id":"n1"}`,
		"tasks/default/b":                       `{"task":{"name":"../b"}}`,
		"tokens/t2":                             `{"id":"t2","id":"t3","revision":-1,"created_at":"0000-00-00T00:00:00Z"}`,
	} {
		f.Add(key, []byte(document))
	}
	f.Fuzz(func(t *testing.T, key string, data []byte) {
		for _, read := range kinds {
			if err := read(key, data); err != nil {
				t.Error(err)
			}
		}
	})
}
