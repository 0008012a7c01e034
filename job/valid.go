package job

// Valid reports every fault of a complete task in one error.
func (t *Task) Valid() error {
	var f Faults
	t.check(&f, "")
	return f.Err("task " + t.Ref().String() + " is not valid")
}

func (t *Task) check(f *Faults, prefix string) {
	if err := CheckName("task", t.Name); err != nil {
		f.Add(prefix+"name", "%v", err)
	}
	t.Rule().check(f, prefix)
}
