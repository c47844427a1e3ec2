package cuda

import (
	"slices"
	"testing"
	"unsafe"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

// copying is a driver that writes down what goes on in its streams.
type copying struct {
	*fake
	log    []string
	over   bool
	pinned map[unsafe.Pointer][]byte
}

func newCopying() *copying {
	return &copying{fake: newFake(1 << 40), pinned: map[unsafe.Pointer][]byte{}}
}

func (c *copying) Pin(bytes int64) (unsafe.Pointer, error) {
	mem := make([]byte, bytes)
	at := unsafe.Pointer(&mem[0])
	c.pinned[at] = mem
	return at, nil
}
func (c *copying) Unpin(at unsafe.Pointer) { delete(c.pinned, at) }
func (c *copying) Copy(uint64, unsafe.Pointer, int64) (uintptr, error) {
	c.log = append(c.log, "copy")
	return 1, nil
}
func (c *copying) Copied(uintptr) (bool, error) { return c.over, nil }
func (c *copying) Forget(uintptr)               { c.log = append(c.log, "forget") }
func (c *copying) Follow(uintptr) error {
	c.log = append(c.log, "follow")
	return nil
}
func (c *copying) Launch(uintptr, int, int, int, int, []uint64) error {
	c.log = append(c.log, "kernel")
	return nil
}

// A copy is followed once, before what uses it and before its memory is another's.
func TestStageOrder(t *testing.T) {
	c := newCopying()
	d := Over(c, nil)
	x, _ := d.Alloc(format.F32, 4)
	s, err := d.Stage(d.Pin(3 << 20))
	if err != nil || s.Done() {
		t.Fatalf("done at once, %v", err)
	}
	d.Fill(x, 4, 1)
	s.Join()
	s.Join()
	d.Fill(x, 4, 1)
	if s.Done() {
		t.Error("a copy that is followed is over at once")
	}
	c.over = true
	if !s.Done() || !s.Done() {
		t.Error("a copy is never over")
	}
	s.Drop()
	s, _ = d.Stage(d.Pin(3 << 20))
	s.Drop()
	if want := []string{"copy", "kernel", "follow", "kernel", "forget", "copy", "follow", "forget"}; !slices.Equal(c.log, want) {
		t.Errorf("%v, want %v", c.log, want)
	}
}

// Images that come and go take the memory of those that are there, on the device
// and pinned, also where their sizes differ.
func TestStageMemory(t *testing.T) {
	c := newCopying()
	d := Over(c, nil)
	for _, bytes := range []int64{100, 3 << 20, 9 << 20, 3 << 20} {
		var before int64
		for round := range 5 {
			mem := d.Pin(bytes)
			s, err := d.Stage(mem)
			if err != nil {
				t.Fatal(err)
			}
			at := s.(*staged).mem.at
			w, err := s.Weight(0, kernels.Weight{Name: "w", Type: format.BF16, N: 2, K: 16}, kernels.ForMatMul)
			if err != nil || w.(*weight).args[0] != at || !w.(*weight).wide {
				t.Errorf("%v, a weight at %v of an image at %d", err, w, at)
			}
			v, _ := s.Vector(64, 3)
			if on(v, 3, "v") != at+64 {
				t.Error("a vector lies elsewhere")
			}
			s.Drop()
			d.Unpin(mem)
			if round > 0 && d.Held() != before {
				t.Errorf("%d bytes: %d held, %d before", bytes, d.Held(), before)
			}
			before = d.Held()
		}
		if want := slabBytes + d.Takes(bytes); bytes > smallBytes && (d.Held() != want || len(c.pinned) != 1) {
			t.Errorf("%d bytes: %d held, want %d; %d pieces are pinned", bytes, d.Held(), want, len(c.pinned))
		}
	}
	if err := d.Close(); err != nil || len(c.pinned) > 0 {
		t.Errorf("%v, %d pieces stay pinned", err, len(c.pinned))
	}
}
