package engine

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evalrun/evalrun/backends/local/internal/fixture"
	"github.com/evalrun/evalrun/backends/local/lora"
	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/cpu"
	"github.com/evalrun/evalrun/kernels/format"
)

// staging is the cpu with a memory of its own and copies that take their time: what
// is used before its copy was joined is garbage, and so is an image that was given
// back too early.
type staging struct {
	*cpu.Device
	t     *testing.T
	polls int // of Done until a copy is over

	mu     sync.Mutex
	pinned map[*byte]bool
	most   int // pinned at a time
	copies int
}

func newStaging(t *testing.T, polls int) *staging {
	dev, err := cpu.New(cpu.Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	return &staging{Device: dev, t: t, polls: polls, pinned: map[*byte]bool{}}
}

func (d *staging) Pin(n int64) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	mem := bytes.Repeat([]byte{0xff}, int(n))
	d.pinned[&mem[0]] = true
	d.most = max(d.most, len(d.pinned))
	return mem
}

func (d *staging) Unpin(mem []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.pinned[&mem[0]] {
		d.t.Error("memory is given back that is not pinned")
	}
	delete(d.pinned, &mem[0])
	for i := range mem {
		mem[i] = 0xff // NaN
	}
}

func (d *staging) Takes(n int64) int64 { return n }

func (d *staging) Stage(image []byte) (kernels.Staged, error) {
	d.copies++
	return &stagedCopy{d: d, src: image, mem: bytes.Repeat([]byte{0xff}, len(image)), left: d.polls}, nil
}

type stagedCopy struct {
	d        *staging
	src, mem []byte
	left     int
	joined   bool
	dropped  bool
}

func (s *stagedCopy) Done() bool {
	if s.left--; s.left < 0 && s.src != nil { // only now the image has been read
		copy(s.mem, s.src)
		s.src = nil
	}
	return s.src == nil
}

func (s *stagedCopy) Join() { s.joined = true }

// values are there for who has joined; the cpu cannot wait for a copy, so it is made
// here, without telling that it is over.
func (s *stagedCopy) values() []byte {
	if !s.joined || s.dropped {
		s.d.t.Error("a copy is used that was not joined, or was dropped")
	}
	if s.src != nil {
		copy(s.mem, s.src)
	}
	return s.mem
}

func (s *stagedCopy) Weight(at int64, w kernels.Weight, use kernels.Use) (kernels.Prepared, error) {
	size, _ := w.Type.Bytes(int64(w.N) * int64(w.K))
	w.Data = s.values()[at : at+size]
	return s.d.Prepare(w, use)
}

func (s *stagedCopy) Vector(at int64, n int) (kernels.Buffer, error) {
	values := make([]float32, n)
	format.F32.Decode(values, s.values()[at:])
	b, err := s.d.Alloc(format.F32, n)
	if err == nil {
		s.d.Write(b, values)
	}
	return b, err
}

func (s *stagedCopy) Drop() { s.dropped = true }

// manyAdapters are adapters of several ranks and modules.
func manyAdapters(t testing.TB, n int) (all []AdapterPath) {
	shape := fixture.Tiny
	kinds := []map[string][2]int{{"q_proj": {40, 40}, "v_proj": {8, 40}}, {"o_proj": {40, 40}, "down_proj": {40, 72}}, {"up_proj": {72, 40}}}
	for i := range n {
		path := fixture.WriteAdapter(t, uint64(i+1), 2+i%7, kinds[i%len(kinds)], shape.Layers, nil)
		all = append(all, AdapterPath{fmt.Sprint("a", i), path})
	}
	return all
}

// spread gives requests adapters at random, the base model to some.
func spread(requests []Request, adapters int) []Request {
	rng := rand.New(rand.NewPCG(9, 9))
	for i := range requests {
		if k := rng.IntN(adapters + 2); k < adapters {
			requests[i].Adapter = fmt.Sprint("a", k)
		}
	}
	return requests
}

// More adapters than there is room for, on the device and on the host: every answer
// has the bits that it has where all are resident, on a device that copies beside its
// work and on one that does not; what is in use stays (else the engine panics), and
// the budgets hold (else the books do).
func TestAdapterTiers(t *testing.T) {
	dir := fixture.Tiny.WriteHF(t, 3, format.F32)
	adapters := manyAdapters(t, 20)
	requests := spread(mixture(150), len(adapters))
	all := load(t, dir, Options{Threads: 2, Adapters: adapters})
	want := ask(t, all, requests...)
	if st := all.Stats().Adapters; st.Read != 20 || st.Copied != 20 {
		t.Errorf("%+v where all have room", st)
	}
	sizes, largest := int64(0), int64(0)
	for _, a := range all.inOrder {
		sizes, largest = sizes+a.size, max(largest, a.size)
	}
	for name, c := range map[string]struct {
		polls int
		o     Options
	}{
		"cpu":                 {-1, Options{AdapterBytes: sizes / 4}},
		"cpu, one at a time":  {-1, Options{AdapterBytes: largest, AdapterHostBytes: largest}},
		"staging":             {3, Options{AdapterBytes: sizes / 5}},
		"staging, small host": {3, Options{AdapterBytes: sizes / 5, AdapterHostBytes: sizes / 8}},
		"staging, small rows": {0, Options{AdapterBytes: largest, AdapterHostBytes: sizes, BatchRows: 13, Sequences: 9}},
		"staging, slow":       {40, Options{AdapterBytes: sizes / 3, Sequences: 5}},
	} {
		t.Run(name, func(t *testing.T) {
			o := c.o
			o.Adapters, o.Threads = adapters, 2
			var dev *staging
			if c.polls >= 0 {
				dev = newStaging(t, c.polls)
				o.Device = dev
			}
			e := load(t, dir, o)
			for range 2 {
				for id, r := range ask(t, e, requests...) {
					if bits(r) != bits(want[id]) {
						t.Errorf("request %s: %.200s, all resident %.200s", id, bits(r), bits(want[id]))
					}
				}
			}
			st := e.Stats().Adapters
			t.Logf("%+v", st)
			if st.Copied <= 20 || st.Bytes == 0 {
				t.Errorf("%+v: nothing ever left the device", st)
			}
			if err := e.Close(); err != nil {
				t.Error(err)
			}
			if dev != nil && (len(dev.pinned) != 0 || int64(dev.copies) != st.Copied) {
				t.Errorf("%d images stay pinned, %d copies of %d", len(dev.pinned), dev.copies, st.Copied)
			}
		})
	}
}

// DoRA's factors and saved weights have the same bits when they come back from the
// host or the disk.
func TestTiersOfVariants(t *testing.T) {
	root := filepath.Join("..", "arch", "testdata", "peft")
	var adapters []AdapterPath
	var requests []Request
	for i, kind := range []string{"dora", "save", "patterns", "lora_bias", "bias"} {
		adapters = append(adapters, AdapterPath{fmt.Sprint("a", i), filepath.Join(root, kind)})
	}
	for i := range 40 {
		requests = append(requests, Request{ID: fmt.Sprint(i), Kind: Generate, Tokens: []int32{1, 5, int32(3 + i%9)}, MaxTokens: 3, IgnoreEOS: true, Logprobs: true, Adapter: fmt.Sprint("a", i*7%5)})
	}
	o := Options{Threads: 1, Adapters: adapters, Tokenizer: bytewise{}}
	all := load(t, filepath.Join(root, "model"), o)
	want := ask(t, all, requests...)
	for _, a := range all.inOrder {
		o.AdapterBytes = max(o.AdapterBytes, a.size)
	}
	for _, host := range []int64{0, o.AdapterBytes} {
		o.Device, o.AdapterHostBytes = newStaging(t, 1), host
		e := load(t, filepath.Join(root, "model"), o)
		for round := range 2 {
			for id, r := range ask(t, e, requests...) {
				if bits(r) != bits(want[id]) {
					t.Errorf("host %d, round %d, request %s: %.200s, all resident %.200s", host, round, id, bits(r), bits(want[id]))
				}
			}
		}
		if st := e.Stats().Adapters; (st.Read == 5) != (host == 0) || st.Copied <= 5 {
			t.Errorf("%+v", st)
		}
	}
}

// gate is a disk on which some folders are slow.
type gate struct {
	slow map[string]chan struct{}
	asks chan string
}

func (g *gate) read(dir string) (*lora.Adapter, error) {
	if wait := g.slow[dir]; wait != nil {
		g.asks <- dir
		<-wait
	}
	return lora.Read(dir)
}

// While one adapter is read, the requests of all others are answered.
func TestSlowDisk(t *testing.T) {
	dir := fixture.Tiny.WriteHF(t, 3, format.F32)
	adapters := manyAdapters(t, 6)
	want := ask(t, load(t, dir, Options{Threads: 1, Adapters: adapters}), Request{ID: "x", Adapter: "a0", Kind: Generate, Tokens: []int32{1, 2}, MaxTokens: 9, IgnoreEOS: true, Logprobs: true})["x"]
	g := &gate{map[string]chan struct{}{adapters[0].Path: make(chan struct{})}, make(chan string, 9)}
	e := load(t, dir, Options{Threads: 1, Adapters: adapters, read: g.read})
	s := e.NewSession()
	defer s.Close()
	slow := Request{ID: "x", Adapter: "a0", Kind: Generate, Tokens: []int32{1, 2}, MaxTokens: 9, IgnoreEOS: true, Logprobs: true}
	second := slow
	second.ID = "y"
	for _, r := range []Request{slow, second} {
		if err := s.Submit(r); err != nil {
			t.Fatal(err)
		}
	}
	<-g.asks
	requests := mixture(40)
	for i := range requests {
		requests[i].Adapter = []string{"", "a1", "a2", "a3", "a4", "a5"}[i%6]
	}
	ask(t, e, requests...) // all of them, while a0 is read
	if len(g.asks) > 0 {
		t.Error("an adapter is read twice at a time")
	}
	close(g.slow[adapters[0].Path])
	left := 2
	for ev := range s.Events() {
		if ev.Err != nil || ev.Response != nil && bits(ev.Response) != bits(want) {
			t.Errorf("%s: %v %v, want %v", ev.ID, ev.Response, ev.Err, want)
		}
		if left--; left == 0 {
			break
		}
	}
}

// A request may be cancelled, and the engine closed, while an adapter is read.
func TestEndWhileReading(t *testing.T) {
	dir := fixture.Tiny.WriteHF(t, 3, format.F32)
	adapters := manyAdapters(t, 2)
	g := &gate{map[string]chan struct{}{adapters[0].Path: make(chan struct{})}, make(chan string, 9)}
	dev := newStaging(t, 2)
	e, err := Load(dir, Options{Device: dev, Adapters: adapters, read: g.read})
	if err != nil {
		t.Fatal(err)
	}
	s := e.NewSession()
	if err := s.Submit(Request{ID: "x", Adapter: "a0", Kind: Generate, Tokens: []int32{1}, MaxTokens: 9}); err != nil {
		t.Fatal(err)
	}
	<-g.asks
	s.Cancel("x")
	for ev := range s.Events() {
		if !errors.Is(ev.Err, ErrCancelled) {
			t.Errorf("%+v", ev)
		}
		break
	}
	ask(t, e, Request{ID: "y", Adapter: "a1", Kind: Generate, Tokens: []int32{1}, MaxTokens: 9})
	go func() {
		time.Sleep(10 * time.Millisecond)
		close(g.slow[adapters[0].Path])
	}()
	if err := e.Close(); err != nil || len(dev.pinned) != 0 {
		t.Errorf("%v, %d images stay pinned", err, len(dev.pinned))
	}
}

// answers gives the errors of one request to each adapter.
func answers(t *testing.T, e *Engine) map[string]error {
	t.Helper()
	got := map[string]error{}
	s := e.NewSession()
	defer s.Close()
	left := 0
	for _, a := range e.inOrder {
		for i := range 2 {
			id := fmt.Sprint(a.name, "/", i)
			if err := s.Submit(Request{ID: id, Adapter: a.name, Kind: Generate, Tokens: []int32{1, 7}, MaxTokens: 12, IgnoreEOS: true}); err != nil {
				got[id] = err
				continue
			}
			left++
		}
	}
	for ev := range s.Events() {
		got[ev.ID] = ev.Err
		if left--; left == 0 {
			break
		}
	}
	return got
}

// What is wrong with an adapter is told to those who ask for it, in one line with its
// folder and a line of advice; the others are answered, and it is tried again.
func TestBrokenAdapters(t *testing.T) {
	dir := fixture.Tiny.WriteHF(t, 3, format.F32)
	adapters := manyAdapters(t, 8)
	file := func(i int) string { return filepath.Join(adapters[i].Path, "adapter_model.safetensors") }
	config := func(i int) string { return filepath.Join(adapters[i].Path, "adapter_config.json") }
	change := func(name string, f func([]byte) []byte) {
		data, err := os.ReadFile(name)
		if err == nil {
			err = os.WriteFile(name, f(data), 0o666)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	// Before the start: a rank, a shape, no file.
	change(config(0), func(b []byte) []byte { return bytes.Replace(b, []byte(`"r":2`), []byte(`"r":3`), 1) })
	adapters[1].Path = fixture.WriteAdapter(t, 2, 4, map[string][2]int{"q_proj": {40, 48}}, fixture.Tiny.Layers, nil)
	adapters[2].Path = filepath.Join(t.TempDir(), "none")
	whole := load(t, dir, Options{Threads: 1, Adapters: adapters[3:]})
	budget := int64(0)
	for _, a := range whole.inOrder {
		budget = max(budget, a.size)
	}
	adapters = append(adapters, AdapterPath{"large", fixture.WriteAdapter(t, 3, 64, map[string][2]int{"down_proj": {40, 72}}, fixture.Tiny.Layers, nil)})
	e := load(t, dir, Options{Device: newStaging(t, 2), Adapters: adapters, AdapterBytes: budget, AdapterHostBytes: 4 * budget})
	// After it: a number, an end, a file.
	change(file(3), func(b []byte) []byte { copy(b[len(b)-4:], []byte{0, 0, 0xc0, 0x7f}); return b })
	change(file(4), func(b []byte) []byte { return b[:len(b)-5] })
	kept, err := os.ReadFile(file(5))
	if err == nil {
		err = os.Remove(file(5))
	}
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"a0": "rank 2, and adapter_config.json says 3", "a1": "want [4 40]", "a2": "there is no", "large": "adapters may take",
		"a3": "not a finite number", "a4": "bytes", "a5": "no such file"}
	for round := range 2 {
		for id, err := range answers(t, e) {
			name := id[:strings.IndexByte(id, '/')]
			var broken *AdapterError
			if text := want[name]; text == "" {
				if err != nil {
					t.Errorf("%s: %v", id, err)
				}
			} else if !errors.As(err, &broken) || broken.Hint == "" || !strings.Contains(err.Error(), text) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: %v, want %q", id, err, text)
			}
		}
		if round == 0 { // what is repaired is used
			if err := os.WriteFile(file(5), kept, 0o666); err != nil {
				t.Fatal(err)
			}
			delete(want, "a5")
		}
	}
	for _, a := range e.Adapters() {
		_, broken := want[a.Name]
		if broken = broken && a.Name != "a3"; broken == (a.Err == nil) && a.Name != "a4" {
			t.Errorf("%s: %v", a.Name, a.Err)
		}
	}
}

// Files that change while the engine lives are not taken for what they were.
func TestAdapterChanges(t *testing.T) {
	dir := fixture.Tiny.WriteHF(t, 3, format.F32)
	adapters := manyAdapters(t, 2)
	e := load(t, dir, Options{Threads: 1, Adapters: adapters})
	if infos := e.Adapters(); infos[0].Err != nil || len(infos[0].Hash) != 64 || infos[0].Hash == infos[1].Hash {
		t.Errorf("%+v", infos)
	}
	other := fixture.WriteAdapter(t, 77, 2, map[string][2]int{"q_proj": {40, 40}, "v_proj": {8, 40}}, fixture.Tiny.Layers, nil)
	data, err := os.ReadFile(filepath.Join(other, "adapter_model.safetensors"))
	if err == nil {
		err = os.WriteFile(filepath.Join(adapters[0].Path, "adapter_model.safetensors"), data, 0o666)
	}
	if err != nil {
		t.Fatal(err)
	}
	got := answers(t, e)
	if !errors.Is(got["a0/0"], errChanged) || got["a1/0"] != nil {
		t.Errorf("%v", got)
	}
}

// An adapter that finds no room is not overtaken for ever by those that are there.
func TestRareAdapter(t *testing.T) {
	dir := fixture.Tiny.WriteHF(t, 3, format.F32)
	adapters := manyAdapters(t, 3)
	sizes := load(t, dir, Options{Threads: 1, Adapters: adapters}).inOrder
	o := Options{Threads: 1, Adapters: adapters, Sequences: 4, AdapterBytes: max(sizes[0].size, sizes[1].size, sizes[2].size)}
	e := load(t, dir, o)
	s := e.NewSession()
	defer s.Close()
	ask := func(i int, name string) {
		if err := s.Submit(Request{ID: fmt.Sprint(name, "/", i), Adapter: name, Kind: Generate, Tokens: []int32{1, int32(i % 50)}, MaxTokens: 3 + i%5, IgnoreEOS: true}); err != nil {
			t.Fatal(err)
		}
	}
	const n = 60
	for i := range n {
		if ask(i, "a0"); i == 6 {
			ask(0, "a1")
		}
	}
	var order []string
	for ev := range s.Events() {
		if ev.Err != nil {
			t.Fatal(ev.Err)
		}
		if order = append(order, ev.ID); len(order) == n+1 {
			break
		}
	}
	if at := slices.Index(order, "a1/0"); at > 6+3*o.Sequences {
		t.Errorf("the rare one was answered as number %d: %v", at, order)
	}
}

func TestAdapterBudgets(t *testing.T) {
	e := &Engine{dev: newStaging(t, 0)}
	if d, h := e.tierBudgets(1, 1); d != defaultAdapterBytes || h != readBytes {
		t.Errorf("%d %d", d, h)
	}
	e.stager = e.dev.(kernels.Stager)
	if d, h := e.tierBudgets(5<<30, 3<<30); d != 5<<30 || h != 3<<30 {
		t.Errorf("%d %d: the largest has no room", d, h)
	}
	e.opts = Options{AdapterBytes: 7, AdapterHostBytes: 8}
	if d, h := e.tierBudgets(5<<30, 3<<30); d != 7 || h != 8 {
		t.Errorf("%d %d", d, h)
	}
	if _, err := Load("x", Options{AdapterBytes: -1}); err == nil || !strings.Contains(err.Error(), "AdapterBytes") {
		t.Error(err)
	}
}
