package arch_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/evalrun/evalrun/backends/local/arch"
	"github.com/evalrun/evalrun/backends/local/internal/fixture"
	"github.com/evalrun/evalrun/backends/local/lora"
	"github.com/evalrun/evalrun/backends/local/nn"
	"github.com/evalrun/evalrun/kernels"
)

func loadAdapter(t *testing.T, m *arch.Model, dir string) *nn.Adapter {
	t.Helper()
	a, err := lora.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	out, err := m.Adapter(a)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// The logits with PEFT's adapters are those of PEFT.
func TestGoldenAdapters(t *testing.T) {
	root := fixture.Shared(t, "golden", "models")
	for _, family := range goldenFamilies {
		for kind, tolerance := range map[string]float64{"adapter": 1e-4, "adapter2": 2e-4} {
			dir := filepath.Join(root, family)
			if _, err := os.Stat(filepath.Join(dir, kind)); err != nil {
				continue
			}
			want, tensors := readExpected(t, dir)
			devices(t, func(t *testing.T, dev kernels.Device) {
				m := load(t, dev, dir)
				a := loadAdapter(t, m, filepath.Join(dir, kind))
				for i, ids := range want.Prompts {
					got := adapted(t, dev, m, a, ids, 3, 17, 64)
					var some [][]float32
					for _, p := range want.Positions.Others[i] {
						some = append(some, got[p])
					}
					if d := furthest(some, reference(t, tensors, fmt.Sprintf("logits/%s/%d", kind, i))); !(d <= tolerance) {
						t.Errorf("%s/%s, prompt %d: logits differ by %g", family, kind, i, d)
					} else {
						t.Logf("%s/%s, prompt %d: largest difference %.2g", family, kind, i, d)
					}
				}
			})
		}
	}
}
