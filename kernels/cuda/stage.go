package cuda

import (
	"fmt"
	"sync"
	"unsafe"

	"github.com/evalrun/evalrun/kernels"
)

var _ kernels.Stager = (*Device)(nil)

// pinned is host memory that the driver has locked, kept by size for the next
// image: locking takes milliseconds. Memory of other sizes is given up first,
// so that no more is locked than was in use at one time.
type pinned struct {
	mu   sync.Mutex
	used map[unsafe.Pointer]int64
	free map[int64][]unsafe.Pointer
}

// Pin gives plain memory where none can be locked: a copy from there is right,
// only not beside the work. The driver is called without the lock, since others give
// memory back meanwhile.
func (d *Device) Pin(bytes int64) []byte {
	if d.copier == nil || bytes == 0 {
		return make([]byte, bytes)
	}
	size := sizeClass(bytes)
	at, others := d.pinned.find(size)
	for _, x := range others {
		d.copier.Unpin(x)
	}
	if at == nil {
		var err error
		if at, err = d.copier.Pin(size); err != nil {
			return make([]byte, bytes)
		}
		d.pinned.use(at, size)
	}
	return unsafe.Slice((*byte)(at), bytes)
}

// Unpin keeps the memory for the next Pin.
func (d *Device) Unpin(mem []byte) {
	p := &d.pinned
	p.mu.Lock()
	defer p.mu.Unlock()
	at := unsafe.Pointer(unsafe.SliceData(mem))
	if size, ok := p.used[at]; ok {
		delete(p.used, at)
		p.free[size] = append(p.free[size], at)
	}
}

// find gives a free piece of a size, or what is free of others.
func (p *pinned) find(size int64) (at unsafe.Pointer, others []unsafe.Pointer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if list := p.free[size]; len(list) > 0 {
		at, p.free[size] = list[len(list)-1], list[:len(list)-1]
		p.used[at] = size
		return at, nil
	}
	for _, list := range p.free {
		others = append(others, list...)
	}
	clear(p.free)
	return nil, others
}

func (p *pinned) use(at unsafe.Pointer, size int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.used == nil {
		p.used, p.free = map[unsafe.Pointer]int64{}, map[int64][]unsafe.Pointer{}
	}
	p.used[at] = size
}

// Takes is the size of the block that Stage takes.
func (d *Device) Takes(bytes int64) int64 { return sizeClass(bytes) }

// staged is an image in one block.
type staged struct {
	d       *Device
	mem     *block
	handle  uintptr
	pending bool // the copy is not known to be over
	joined  bool
}

// Stage takes a block as any allocation does. Who had it before may still have work
// in the stream, behind which the copy begins. Free blocks of other sizes go back to
// the driver first: images come and go in one amount of memory.
func (d *Device) Stage(image []byte) (kernels.Staged, error) {
	size := sizeClass(int64(len(image)))
	if !d.heap.has(size) {
		d.heap.trim()
	}
	mem, err := d.heap.take(int64(len(image)))
	if err != nil {
		return nil, err
	}
	s := &staged{d: d, mem: mem}
	if len(image) == 0 {
		return s, nil
	}
	src := unsafe.Pointer(&image[0])
	if d.copier == nil {
		err = d.driver.Upload(mem.at, src, int64(len(image)))
	} else if err = d.steps.flush(); err == nil {
		s.handle, err = d.copier.Copy(mem.at, src, int64(len(image)))
		s.pending = err == nil
	}
	if err != nil {
		return nil, &Fault{"copy an image", err}
	}
	return s, nil
}

func (s *staged) Done() bool {
	if s.pending {
		done, err := s.d.copier.Copied(s.handle)
		s.d.check("copy an image", err)
		if done {
			s.forget()
		}
	}
	return !s.pending
}

func (s *staged) forget() {
	s.pending = false
	s.d.copier.Forget(s.handle)
}

func (s *staged) Join() {
	if s.pending && !s.joined {
		s.joined = true
		s.d.check("copy an image", s.d.copier.Follow(s.handle))
	}
}

func (s *staged) Weight(at int64, w kernels.Weight, _ kernels.Use) (kernels.Prepared, error) {
	kind, ok := plainKinds[w.Type]
	if !ok {
		return nil, fmt.Errorf("weight %s: %v lies in no image", w.Name, w.Type)
	}
	size, _ := w.Type.Bytes(int64(w.N) * int64(w.K))
	p := &weight{n: w.N, k: w.K, kind: kind, blocks: []*block{s.mem}, bytes: size}
	p.plain(s.mem.at + uint64(at))
	return p, nil
}

func (s *staged) Vector(at int64, n int) (kernels.Buffer, error) {
	return &buffer{mem: s.mem, at: s.mem.at + uint64(at), n: n}, nil
}

// Drop gives the block to the heap at once, whose order is that of the first stream.
func (s *staged) Drop() {
	s.Join()
	if s.pending {
		s.forget()
	}
	s.mem.cleanup.Stop()
	s.d.heap.give(*s.mem)
}
