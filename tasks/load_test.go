package tasks

import "testing"

func TestEmbeddedTasksLoad(t *testing.T) {
	names := Names()
	if len(names) != 31 {
		t.Errorf("%d embedded tasks, want 31", len(names))
	}
	for _, name := range names {
		f, err := Load(name, Options{})
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		if f.Task.Name != name {
			t.Errorf("%s.yaml holds the task %s", name, f.Task.Name)
		}
		if !HasRows(name) {
			t.Errorf("%s has no embedded rows", name)
		}
	}
}
