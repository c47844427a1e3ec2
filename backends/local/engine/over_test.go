package engine

import (
	"reflect"
	"testing"

	"github.com/evalrun/evalrun/backends/local/arch"
	"github.com/evalrun/evalrun/backends/local/internal/fixture"
	"github.com/evalrun/evalrun/kernels/cpu"
	"github.com/evalrun/evalrun/kernels/format"
)

// An engine over a model that lives already answers with the bits of one that
// has loaded it, also one with rotary angles for long sequences, takes what its
// plan says, and leaves the model for the next.
func TestOver(t *testing.T) {
	for name, dir := range map[string]string{"tiny": fixture.Tiny.WriteHF(t, 4, format.F32), "phi3": fixture.Tiny.WritePhi3(t, 4, 40)} {
		adapters := []AdapterPath{{Name: "a", Path: fixture.WriteAdapter(t, 5, 4, map[string][2]int{"q_proj": {40, 40}, "down_proj": {40, 72}}, fixture.Tiny.Layers, nil)}}
		if name == "phi3" {
			adapters = nil // its matrices are fused
		}
		const context = 200
		dev, err := cpu.New(cpu.Options{Threads: 2})
		if err != nil {
			t.Fatal(err)
		}
		c, f, err := arch.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		m, err := arch.Build(dev, c, f, 0, arch.Options{})
		if err != nil {
			t.Fatal(err)
		}
		requests := mixture(20)
		for i := range requests {
			if i%2 == 0 && adapters != nil {
				requests[i].Adapter = "a"
			}
		}
		want := ask(t, load(t, dir, Options{Threads: 1, Context: context, Adapters: adapters}), requests...)
		o := Options{Device: dev, Context: context, Sequences: 3, Adapters: adapters}
		for round := range 2 {
			e, err := Over(m, o)
			if err != nil {
				t.Fatal(err)
			}
			for id, r := range ask(t, e, requests...) {
				if bits(r) != bits(want[id]) {
					t.Errorf("%s, engine %d: request %s: %.200s, loaded %.200s", name, round+1, id, bits(r), bits(want[id]))
				}
			}
			plan := e.Plan()
			if err := e.Close(); err != nil {
				t.Error(err)
			}
			planned, err := PlanOver(m, o)
			plan.Device, plan.AdapterBytes = "", 0 // known once there are such
			if err != nil || !reflect.DeepEqual(planned, plan) {
				t.Errorf("%s: planned %+v, %v; it was %+v", name, planned, err, plan)
			}
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		if err := dev.Close(); err != nil {
			t.Error(err)
		}
	}
}
