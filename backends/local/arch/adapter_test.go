package arch_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/evalrun/evalrun/backends/local/arch"
	"github.com/evalrun/evalrun/backends/local/internal/fixture"
	"github.com/evalrun/evalrun/backends/local/lora"
	"github.com/evalrun/evalrun/backends/local/nn"
	"github.com/evalrun/evalrun/backends/local/weights"
	"github.com/evalrun/evalrun/internal/shared"
	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
	"github.com/evalrun/evalrun/kernels/ref"
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
	root := shared.Path(t, "golden", "models")
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

// PEFT's variants, as testdata/peft/make.py wrote them: patterns of ranks and
// alphas, expressions, chosen layers, DoRA, saved modules, biases.
func TestPEFT(t *testing.T) {
	root := filepath.Join("testdata", "peft")
	var want struct{ IDs []int32 }
	text, err := os.ReadFile(filepath.Join(root, "expected.json"))
	if err == nil {
		err = json.Unmarshal(text, &want)
	}
	if err != nil {
		t.Fatal(err)
	}
	tensors, err := weights.Open(filepath.Join(root, "expected.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer tensors.Close()
	devices(t, func(t *testing.T, dev kernels.Device) {
		m := load(t, dev, filepath.Join(root, "model"))
		for _, kind := range tensors.Names() {
			var a *nn.Adapter
			if kind != "model" {
				a = loadAdapter(t, m, filepath.Join(root, kind))
			}
			got := adapted(t, dev, m, a, want.IDs, 4, 64)
			if d := furthest(got, reference(t, tensors, kind)); !(d <= 1e-5) {
				t.Errorf("%s: logits differ by %g", kind, d)
			}
		}
	})
}

// A batch may mix rows of the base and of several adapters: each has the bits
// that it has alone.
func TestMixedRows(t *testing.T) {
	root := filepath.Join("testdata", "peft")
	devices(t, func(t *testing.T, dev kernels.Device) {
		m := load(t, dev, filepath.Join(root, "model"))
		kinds := []string{"", "dora", "save", "patterns", "", "lora_bias", "dora", "bias"}
		var whole nn.Batch
		var alone [][][]float32
		for i, kind := range kinds {
			var a *nn.Adapter
			if kind != "" {
				a = loadAdapter(t, m, filepath.Join(root, kind))
			}
			ids := make([]int32, 3+i)
			for k := range ids {
				ids[k] = int32((k*7 + i*5 + 2) % m.Vocab)
			}
			alone = append(alone, adapted(t, dev, m, a, ids, 64))
			row := len(whole.IDs)
			whole.Spans = append(whole.Spans, kernels.Span{Row: row, N: len(ids), Pages: []int32{int32(i)}})
			if a != nil {
				whole.Uses = append(whole.Uses, nn.Use{Row: row, N: len(ids), Adapter: a})
			}
			for k := range ids {
				whole.Pos = append(whole.Pos, int32(k))
				if k%2 == 0 || k == len(ids)-1 {
					whole.Want = append(whole.Want, int32(row+k))
				}
			}
			whole.IDs = append(whole.IDs, ids...)
		}
		w, err := m.NewWorkspace(dev, len(whole.IDs), 5)
		if err != nil {
			t.Fatal(err)
		}
		caches, err := m.NewCaches(dev, len(kinds))
		if err != nil {
			t.Fatal(err)
		}
		state := m.Forward(dev, w, &whole, caches)
		got := make([]float32, len(whole.Want)*m.Vocab)
		for i := 0; i < len(whole.Want); i += 5 {
			n := min(5, len(whole.Want)-i)
			m.Logits(dev, w, state, i, n, got[i*m.Vocab:(i+n)*m.Vocab])
		}
		for i, row := range whole.Want {
			s := len(kinds) - 1
			for whole.Spans[s].Row > int(row) {
				s--
			}
			for v, x := range alone[s][int(row)-whole.Spans[s].Row] {
				if math.Float32bits(x) != math.Float32bits(got[i*m.Vocab+v]) {
					t.Fatalf("row %d, of sequence %d (%q), has other bits in company", row, s, kinds[s])
				}
			}
		}
	})
}

// An adapter trained on the original fits a GGUF file, whose rows of q and k
// are in another order.
func TestAdapterOnGGUF(t *testing.T) {
	shape := fixture.Tiny
	dir := fixture.WriteAdapter(t, 3, 4, map[string][2]int{"q_proj": {40, 40}, "k_proj": {8, 40}, "down_proj": {40, 72}}, shape.Layers, nil)
	for _, dev := range []kernels.Device{ref.New()} {
		a, b := load(t, dev, shape.WriteHF(t, 1, format.F32)), load(t, dev, shape.WriteGGUF(t, 1, format.F32, format.F32))
		want := flat(adapted(t, dev, a, loadAdapter(t, a, dir), someIDs, 64))
		got := adapted(t, dev, b, loadAdapter(t, b, dir), someIDs, 64)
		if d := furthest(got, want); !(d <= 5e-5) {
			t.Errorf("logits differ by %g", d)
		}
		if d := furthest(forward(t, dev, b, someIDs, 64), want); d < 0.1 {
			t.Errorf("the adapter changes the logits by %g only", d)
		}
	}
}

// What of an adapter does not fit is named.
func TestAdapterRefusals(t *testing.T) {
	shape := fixture.Tiny
	m := load(t, ref.New(), shape.WriteHF(t, 1, format.F32))
	good := map[string][2]int{"q_proj": {40, 40}, "v_proj": {8, 40}}
	for _, c := range []struct {
		name    string
		modules map[string][2]int
		layers  int
		change  map[string]any
		want    []string
	}{
		{"other width", map[string][2]int{"q_proj": {40, 48}}, 2, nil, []string{"layers.0.self_attn.q_proj.lora_A.weight", "[4 48]", "[4 40]", "another model", "names somebody/base"}},
		{"more layers", good, 3, nil, []string{"no module model.layers.2.self_attn.q_proj", "another model"}},
		{"other names", map[string][2]int{"query_key_value": {40, 40}}, 2, nil, []string{"query_key_value", "another model"}},
		{"rank", good, 2, map[string]any{"r": 8}, []string{"lora_A.weight", "rank 4", "says 8"}},
		{"not named", good, 2, map[string]any{"target_modules": []string{"q_proj"}}, []string{"v_proj", "target_modules does not name"}},
		{"not there", good, 2, map[string]any{"target_modules": []string{"q_proj", "v_proj", "o_proj"}}, []string{"o_proj.lora_A.weight", "missing", "[4 40]"}},
		{"dora", good, 2, map[string]any{"use_dora": true}, []string{"lora_magnitude_vector", "missing"}},
		{"saved", good, 2, map[string]any{"modules_to_save": []string{"lm_head"}}, []string{"lm_head.weight", "missing"}},
		{"kind", good, 2, map[string]any{"peft_type": "IA3"}, []string{"adapter_config.json", "IA3", "only LORA"}},
		{"pissa", good, 2, map[string]any{"init_lora_weights": "pissa"}, []string{"pissa", "changed weights"}},
		{"expression", good, 2, map[string]any{"target_modules": "(q_proj"}, []string{"target_modules"}},
		{"kasa", good, 2, map[string]any{"kasa_config": map[string]any{"beta": 1}}, []string{"kasa_config is set", "not supported"}},
		{"blocks", good, 2, map[string]any{"use_bdlora": map[string]any{"nblocks": 2}}, []string{"use_bdlora is set", "not supported"}},
		{"no rank", good, 2, map[string]any{"r": 0}, []string{"r is 0"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, err := lora.Open(fixture.WriteAdapter(t, 3, 4, c.modules, c.layers, c.change))
			if err == nil {
				defer a.Close()
				_, err = m.Adapter(a)
			}
			if err == nil {
				t.Fatal("loaded")
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error %q does not say %q", err, w)
				}
			}
		})
	}
}
