package sim

import (
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

type bug string

// planted is a bug in a world; an empty one is none.
type planted struct {
	w *world
	b bug
}

func plant(w *world, b bug) *planted { return &planted{w, b} }

func (p *planted) runner(e endpoint) job.Runner { return e }
func (p *planted) died(*machine)                {}
func (p *planted) etcd(*store.Memory)           {}
