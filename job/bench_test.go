package job_test

import (
	"testing"

	"github.com/rota-dev/rota/job"
)

func BenchmarkParseText(b *testing.B) {
	for name, s := range map[string]string{
		"plain": "pg_dump shop", "name": "pg_dump {{ config.DB }}", "expression": `{{ params.DAYS ?? "7" }}`,
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := job.ParseText(s); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkFill(b *testing.B) {
	for name, line := range map[string]string{"plain": "echo hello", "values": `echo {{ config.DB }} "on {{ node.name }}"`} {
		b.Run(name, func(b *testing.B) {
			j := &job.Job{Name: "a", Group: "default", Command: line, Config: map[string]string{"DB": "shop"}}
			scope := job.Scope{Node: &job.Node{ID: "n1"}}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := j.Fill(scope); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
