package engine

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/evalrun/evalrun/backends/local/arch"
	"github.com/evalrun/evalrun/backends/local/internal/fixture"
	"github.com/evalrun/evalrun/backends/local/lora"
	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

// churn measures more adapters than there is room for beside all resident, at the
// shape of a large model on a GPU (gpu_test.go) and of a small one here.
type churn struct {
	shape                     fixture.Shape
	adapters, room, sequences int
	prompt, answer            int
	kv                        int64
}

// run answers the same requests with all adapters resident and with room for some,
// twice each, so that adapters come from the disk and from the host. Equal bits; what
// was copied and the time of a batch are told.
func (c churn) run(t *testing.T, dev kernels.Device, dir string) {
	t.Helper()
	dim := c.shape.Hidden / c.shape.Heads
	config, file, err := arch.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	m, err := arch.Build(dev, config, file, 0, arch.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	o := Options{Device: dev, Tokenizer: bytewise{}, KVBytes: c.kv}
	for i := range c.adapters {
		path := fixture.WriteAdapter(t, uint64(i), 8, map[string][2]int{"q_proj": {c.shape.Hidden, c.shape.Hidden}, "v_proj": {c.shape.KVHeads * dim, c.shape.Hidden}}, c.shape.Layers, nil)
		o.Adapters = append(o.Adapters, AdapterPath{fmt.Sprint("a", i), path})
	}
	size := sizeOf(t, m, o.Adapters[0].Path)
	rng := rand.New(rand.NewPCG(8, 8))
	var requests []Request
	for i := range c.sequences {
		r := Request{ID: fmt.Sprint(i), Kind: Generate, MaxTokens: c.answer, IgnoreEOS: true, Logprobs: true, Adapter: fmt.Sprint("a", i%c.adapters)}
		for range c.prompt {
			r.Tokens = append(r.Tokens, int32(3+rng.IntN(c.shape.Vocab-3)))
		}
		requests = append(requests, r)
	}
	base := make([]Request, 8) // of the base model, answered beside adapters that come and go
	for i := range base {
		base[i] = Request{ID: fmt.Sprint("base", i), Kind: Generate, MaxTokens: 4 * c.answer, IgnoreEOS: true, Logprobs: true, Tokens: requests[i].Tokens}
	}
	want := map[string]string{}
	for _, room := range []int{c.adapters, c.room} {
		o.AdapterBytes = int64(room) * size
		e, err := Over(m, o)
		if err != nil {
			t.Fatal(err)
		}
		measure := func(what string, run func()) {
			before, start := e.Stats(), time.Now()
			run()
			d, after := time.Since(start), e.Stats()
			batches := after.Batches - before.Batches
			t.Logf("room for %2d of %d, %-28s %7.1f ms, %4d batches of %.1f rows, %6.2f ms each, %.0f tokens/s; read %d, copied %d, %.1f MB",
				room, c.adapters, what, 1000*d.Seconds(), batches, float64(after.Rows-before.Rows)/float64(batches), 1000*d.Seconds()/float64(batches),
				float64(after.Generated-before.Generated)/d.Seconds(), after.Adapters.Read-before.Adapters.Read, after.Adapters.Copied-before.Adapters.Copied,
				float64(after.Adapters.Bytes-before.Adapters.Bytes)/1e6)
		}
		for _, from := range []string{"from the disk:", "from the host, prompts known:"} {
			measure(from, func() {
				for id, r := range ask(t, e, requests...) {
					if want[id] == "" {
						want[id] = bits(r)
					}
					if bits(r) != want[id] {
						t.Errorf("room for %d: request %s is %.200s, first %.200s", room, id, bits(r), want[id])
					}
				}
			})
		}
		measure("8 of the base alone:", func() { ask(t, e, base...) })
		measure("8 of the base, all adapters:", func() {
			over := make(chan bool)
			go func() {
				defer close(over)
				for i := range c.adapters { // one after another: each is copied while the others decode
					r := requests[i]
					r.MaxTokens = 1
					ask(t, e, r)
				}
			}()
			ask(t, e, base...)
			<-over
		})
		if st := e.Stats().Adapters; room < c.adapters && st.Copied <= int64(c.adapters) || room == c.adapters && st.Copied != int64(c.adapters) {
			t.Errorf("room for %d of %d: %+v", room, c.adapters, st)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
}

// sizeOf is what an adapter takes on the device.
func sizeOf(t *testing.T, m *arch.Model, dir string) int64 {
	t.Helper()
	a, err := lora.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	im, err := m.ImageShape(a)
	if err != nil {
		t.Fatal(err)
	}
	size, err := m.AdapterBytes(im)
	if err != nil {
		t.Fatal(err)
	}
	return size
}

func TestMeasuredTiers(t *testing.T) {
	c := churn{shape: fixture.Shape{Hidden: 64, Layers: 2, Heads: 4, KVHeads: 2, MLP: 96, Vocab: 131, Context: 128},
		adapters: 10, room: 4, sequences: 20, prompt: 12, answer: 8}
	dir := c.shape.WriteHF(t, 1, format.F32)
	c.run(t, newStaging(t, 2), dir)
}
