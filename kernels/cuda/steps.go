package cuda

import (
	"errors"
	"hash/maphash"
	"slices"
	"unsafe"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/cuda/driver"
	"github.com/evalrun/evalrun/kernels/format"
)

// steps is the Driver that a Device uses: within Together it holds kernels
// back, and starts them as a graph if the same kernels came before.
//
// A graph is never trusted to be up to date. The host's side of each operation
// runs every time; what it would have started is compared with what the graph
// holds, and parameters that differ are set. So a graph saves the starts and
// nothing can be stale in it. That positions and pages keep their parameters
// between tokens is the work of the shelf, where each table of integers of a
// step has a fixed place.
type steps struct {
	driver.Driver
	graphs driver.Grapher // nil: there are none, or they failed
	why    error          // why they failed

	open    bool // within Together
	loose   bool // and something came between: start one by one
	pending []start
	shelf   shelf
	broken  error
	kept    []*graph
	turn    uint64
	counts  StepCounts
}

// StepCounts tell how often Together started a graph, set parameters in one,
// and started kernels one by one.
type StepCounts struct{ Graphs, Set, Single int }

// start is a kernel to be started.
type start struct {
	f     uintptr
	shape [4]int
	args  []uint64
}

// graph is what one sequence of kernels has become.
type graph struct {
	key    uint64
	starts []start
	handle uintptr // 0: seen once, not yet made
	used   uint64
}

// The graphs kept: one for every number of rows that decode side by side, and a
// few for the lengths at which attention takes more blocks.
const mostGraphs = 96

// Together holds back the kernels of f; see kernels.Gatherer.
func (d *Device) Together(f func()) {
	s := d.steps
	if s.graphs == nil || s.open {
		f()
		return
	}
	s.open, s.loose = true, false
	s.shelf.begin()
	defer func() { // a fault in f ends the device; nothing is started of it
		s.open = false
		s.drop()
	}()
	f()
	d.check("start a step", s.end())
}

var _ kernels.Gatherer = (*Device)(nil)

// Steps tells what Together has done, and why there are no graphs if there are none.
func (d *Device) Steps() (StepCounts, error) {
	if d.steps.graphs == nil && d.steps.why == nil {
		return d.steps.counts, errors.New("the driver keeps no graphs")
	}
	return d.steps.counts, d.steps.why
}

// TryGraphs says why Together starts kernels one by one, nil where it makes graphs.
func (d *Device) TryGraphs() error {
	x, err := d.Alloc(format.F32, 1)
	if err != nil {
		return err
	}
	for range 2 { // what comes for the second time becomes a graph
		d.Together(func() { d.Fill(x, 1, 0) })
	}
	_, err = d.Steps()
	return err
}

func (s *steps) drop() {
	clear(s.pending)
	s.pending = s.pending[:0]
}

func (s *steps) Launch(f uintptr, gridX, gridY, threads, shared int, args []uint64) error {
	if s.open && !s.loose {
		s.pending = append(s.pending, start{f, [4]int{gridX, gridY, threads, shared}, args})
		return nil
	}
	return s.Driver.Launch(f, gridX, gridY, threads, shared, args)
}

// flush starts what is held back, because something comes that must see it done
// or that would overtake it.
func (s *steps) flush() error {
	if !s.open || s.loose {
		return nil
	}
	s.loose = true
	if err := s.shelf.send(s.Driver); err != nil {
		return err
	}
	return s.single()
}

func (s *steps) single() error {
	defer s.drop()
	s.counts.Single += len(s.pending)
	for _, p := range s.pending {
		if err := s.Driver.Launch(p.f, p.shape[0], p.shape[1], p.shape[2], p.shape[3], p.args); err != nil {
			return err
		}
	}
	return nil
}

func (s *steps) Upload(dst uint64, src unsafe.Pointer, bytes int64) error {
	if err := s.flush(); err != nil {
		return err
	}
	return s.Driver.Upload(dst, src, bytes)
}

func (s *steps) Download(dst unsafe.Pointer, src uint64, bytes int64) error {
	if err := s.flush(); err != nil {
		return err
	}
	return s.Driver.Download(dst, src, bytes)
}

func (s *steps) Clear(dst uint64, bytes int64) error {
	if err := s.flush(); err != nil {
		return err
	}
	return s.Driver.Clear(dst, bytes)
}

// Free comes when memory is short; what is held back may still use that which
// nobody else does.
func (s *steps) Free(at uint64) {
	if err := s.flush(); err != nil {
		s.broken = err
		return
	}
	s.Driver.Free(at)
}

func (s *steps) Sync() error {
	if err := s.flush(); err != nil {
		return err
	}
	return s.Driver.Sync()
}

// end starts what Together has gathered.
func (s *steps) end() error {
	if s.broken != nil {
		return s.broken
	}
	if s.loose || len(s.pending) == 0 {
		return nil
	}
	if err := s.shelf.send(s.Driver); err != nil {
		return err
	}
	s.turn++
	g, known := s.find()
	g.used = s.turn
	if !known { // perhaps it never comes again
		return s.single()
	}
	if g.handle == 0 {
		if err := s.build(g); err != nil {
			s.why, s.graphs, s.kept = err, nil, nil
			return s.single()
		}
	}
	for i, p := range s.pending {
		if slices.Equal(p.args, g.starts[i].args) {
			continue
		}
		s.counts.Set++
		if err := s.graphs.GraphArgs(g.handle, i, p.args); err != nil {
			return err
		}
		g.starts[i].args = p.args
	}
	s.counts.Graphs++
	return s.graphs.GraphLaunch(g.handle)
}

var graphSeed = maphash.MakeSeed()

// find gives the graph of the kernels that are pending, or begins one.
func (s *steps) find() (g *graph, known bool) {
	var h maphash.Hash
	h.SetSeed(graphSeed)
	for i := range s.pending {
		p := &s.pending[i]
		maphash.WriteComparable(&h, p.f)
		maphash.WriteComparable(&h, p.shape)
	}
	key := h.Sum64()
	for _, g := range s.kept {
		if g.key == key && slices.EqualFunc(g.starts, s.pending, func(a, b start) bool {
			return a.f == b.f && a.shape == b.shape && len(a.args) == len(b.args)
		}) {
			return g, true
		}
	}
	g = &graph{key: key, starts: slices.Clone(s.pending)}
	if len(s.kept) < mostGraphs {
		s.kept = append(s.kept, g)
		return g, false
	}
	oldest := slices.MinFunc(s.kept, func(a, b *graph) int { return int(int64(a.used - b.used)) })
	if oldest.handle != 0 {
		s.graphs.GraphFree(oldest.handle)
	}
	s.kept[slices.Index(s.kept, oldest)] = g
	return g, false
}

func (s *steps) build(g *graph) (err error) {
	functions, shapes, args := make([]uintptr, len(s.pending)), make([][4]int, len(s.pending)), make([][]uint64, len(s.pending))
	for i, p := range s.pending {
		functions[i], shapes[i], args[i] = p.f, p.shape, p.args
	}
	copy(g.starts, s.pending)
	g.handle, err = s.graphs.Graph(functions, shapes, args)
	return err
}

// stepTable is table within Together, false outside.
func (d *Device) stepTable(values []int32) (at uint64, ok bool) {
	s := d.steps
	if !s.open || s.loose {
		return 0, false
	}
	if s.shelf.mem == nil {
		mem, err := d.heap.take(4 * shelfValues)
		if err != nil {
			d.fault("memory of an operation", err)
		}
		s.shelf.mem, s.shelf.host = mem, make([]int32, shelfValues)
	}
	if at, ok = s.shelf.put(values); !ok {
		d.check("start a step", s.flush())
	}
	return at, ok
}

// shelf holds the tables of a step, each at a place that it keeps from step to
// step while it does not outgrow it. One copy brings them to the device.
type shelf struct {
	mem    *block
	host   []int32
	places []place
	used   int // places taken in this step
	end    int // behind the last of them
}

type place struct{ at, room, n int }

const (
	shelfValues = 1 << 18
	placeStep   = 64 // values: tables begin at multiples of 256 bytes
)

func (s *shelf) begin() { s.used, s.end = 0, 0 }

// put gives the address of a table, false where the shelf is full.
func (s *shelf) put(values []int32) (at uint64, ok bool) {
	for _, p := range s.places[:s.used] {
		if slices.Equal(s.host[p.at:p.at+p.n], values) {
			return s.mem.at + 4*uint64(p.at), true
		}
	}
	next := 0 // where the next place begins
	if s.used > 0 {
		last := s.places[s.used-1]
		next = last.at + last.room
	}
	if s.used == len(s.places) || s.places[s.used].at != next || s.places[s.used].room < len(values) {
		// A new place has room to grow; those behind it move.
		room := placeStep
		for room < len(values) {
			room *= 2
		}
		s.places = append(s.places[:s.used], place{at: next, room: room})
	}
	p := &s.places[s.used]
	if p.at+p.room > shelfValues {
		s.places = s.places[:s.used]
		return 0, false
	}
	p.n = len(values)
	copy(s.host[p.at:], values)
	s.used, s.end = s.used+1, p.at+p.n
	return s.mem.at + 4*uint64(p.at), true
}

func (s *shelf) send(d driver.Driver) error {
	if s.end == 0 {
		return nil
	}
	return d.Upload(s.mem.at, unsafe.Pointer(&s.host[0]), 4*int64(s.end))
}
