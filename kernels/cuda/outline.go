package cuda

import (
	"fmt"
	"slices"
	"unsafe"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/cuda/driver"
)

// outline is the device itself on a driver that only counts: memory is handed
// out as on the GPU, kernels are asked for and not started.
type outline struct{ *Device }

var (
	_ kernels.Outline  = outline{}
	_ kernels.Outliner = (*Device)(nil)
)

// Outline is the device for plans of memory.
func (d *Device) Outline() kernels.Outline {
	free, total := d.driver.Memory()
	c := &counter{name: d.driver.Name(), processors: d.driver.Processors(), shared: d.driver.Shared(),
		next: slabBytes, free: free, total: total, sizes: map[uint64]int64{}}
	var drv driver.Driver = c
	if d.unit != nil {
		drv = mappingCounter{c}
	}
	o := outline{Over(drv, d.failed)}
	o.brain, o.copies, o.product = d.brain, d.copies, d.product
	return o
}

// Reserve takes the memory of operations that an outline has counted.
func (d *Device) Reserve(o kernels.Outline) error {
	x := o.(outline)
	for _, b := range x.idle {
		mem, err := d.heap.take(b.bytes)
		if err != nil {
			return err
		}
		d.release(mem)
	}
	if x.train.pages == 0 {
		return nil
	}
	made, err := d.newCache(x.train.pages, x.train.heads, x.train.dim)
	if err == nil {
		d.train = *made
	}
	return err
}

// Taken is the memory that the device would have from the driver.
func (o outline) Taken() int64 { return o.heap.held }

// Prepare takes the memory of a weight whose data are not looked at.
func (o outline) Prepare(w kernels.Weight, _ kernels.Use) (kernels.Prepared, error) {
	if w.N <= 0 || w.K <= 0 {
		return nil, fmt.Errorf("weight %s: shape [%d, %d] is empty", w.Name, w.N, w.K)
	}
	p := &weight{n: w.N, k: w.K}
	values := int64(w.N) * int64(w.K)
	var err error
	take := func(bytes int64) (at uint64) {
		if err == nil {
			var b *block
			if b, err = o.heap.take(max(bytes, 1)); err == nil {
				p.blocks, p.bytes, at = append(p.blocks, b), p.bytes+b.bytes, b.at
			}
		}
		return at
	}
	q := w.Quant
	if q == nil {
		var known bool
		bytes := 4 * values
		if p.kind, known = plainKinds[w.Type]; known {
			bytes, _ = w.Type.Bytes(values)
		}
		if slices.Contains(blockTypes, w.Type) {
			bytes, _ = w.Type.Bytes(values)
			p.inBlocks(take(bytes), w.Type)
			return p, err
		}
		p.plain(take(bytes))
		return p, err
	}
	blocks := (values + int64(q.Block) - 1) / int64(q.Block)
	p.kind = kindInt8
	codes := values
	if q.Kind.FourBit() {
		p.kind, codes = kindCode4, (values+1)/2
	}
	at := take(codes)
	if q.Kind.FourBit() {
		take(4 * 16) // the map
	}
	if q.Nested != nil {
		take(4 * ((blocks + int64(q.Nested.Block) - 1) / int64(q.Nested.Block)))
		take(blocks)
		take(4 * 256)
	} else {
		take(4 * blocks)
	}
	p.args = make([]uint64, weightArgs)
	p.args[0], p.args[5] = at, num(q.Block)
	p.round = plainKinds[q.Round]
	p.wide = w.K%piece == 0 && q.Block%piece == 0
	p.short = power(q.Block) >= 0 && (q.Nested == nil || power(q.Nested.Block) >= 0) && values < 1<<31
	p.words = p.kind == kindCode4 && q.Block%8 == 0 && values%8 == 0
	return p, err
}

// counter is a Driver that hands out addresses.
type counter struct {
	name               string
	processors, shared int

	next              uint64
	used, free, total int64
	sizes             map[uint64]int64
}

func (c *counter) Name() string                                     { return c.name }
func (c *counter) Processors() int                                  { return c.processors }
func (c *counter) Shared() int                                      { return c.shared }
func (c *counter) Memory() (free, total int64)                      { return c.free - c.used, c.total }
func (*counter) Upload(uint64, unsafe.Pointer, int64) error         { return nil }
func (*counter) Download(unsafe.Pointer, uint64, int64) error       { return nil }
func (*counter) Clear(uint64, int64) error                          { return nil }
func (*counter) Function(string) (uintptr, error)                   { return 1, nil }
func (*counter) Launch(uintptr, int, int, int, int, []uint64) error { return nil }
func (*counter) Sync() error                                        { return nil }
func (*counter) Close() error                                       { return nil }

// Alloc never fails: a plan tells what is wanted.
func (c *counter) Alloc(bytes int64) (uint64, error) {
	at := c.next
	c.next += uint64(sizeClass(bytes))
	c.used += bytes
	c.sizes[at] = bytes
	return at, nil
}

func (c *counter) Free(at uint64) {
	c.used -= c.sizes[at]
	delete(c.sizes, at)
}

// mappingCounter stands for a driver with a tensor memory unit.
type mappingCounter struct{ *counter }

func (mappingCounter) TensorMap(at uint64, rows, cols, box int) (x [32]int32, err error) {
	x[0], x[1], x[2], x[3], x[4] = int32(at>>8), int32(at>>40), int32(rows), int32(cols), int32(box)
	return x, nil
}
