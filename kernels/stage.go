package kernels

import "github.com/evalrun/evalrun/kernels/format"

// An image is what goes to a device in one piece: matrices and vectors one after
// another, each at a multiple of ImageAlign, vectors as float32.

// ImageAlign is what the places in an image are multiples of, so that a kernel
// finds each matrix aligned as if it had memory of its own.
const ImageAlign = 256

// A Stager is a device that takes images while it computes: they lie in memory
// from which it copies beside its operations. Pin and Unpin may be called by any
// goroutine, the rest by the one that calls the operations, and not within
// Together.
type Stager interface {
	// Pin gives host memory for an image, of unknown content, Unpin takes it back.
	// It is pinned where the system allows it, else the copies may take longer.
	Pin(bytes int64) []byte
	Unpin(mem []byte)
	// Takes is the memory of the device that an image of so many bytes takes.
	Takes(bytes int64) int64
	// Stage begins to copy an image into memory of its own. The image must stay
	// as it is until Done says so.
	Stage(image []byte) (Staged, error)
}

// Staged is an image on a device, or on its way there. What is made of it has the
// bits of a weight that Prepare was given, or of a buffer that was written.
type Staged interface {
	// Done tells whether the copy is over, Join or not.
	Done() bool
	// Join has operations that are called from now on come after the copy. It does
	// not wait. What follows wants it first.
	Join()
	// Weight prepares the matrix at a place for a use; w.Data is not looked at. Its
	// type is F32, F16 or BF16.
	Weight(at int64, w Weight, use Use) (Prepared, error)
	// Vector is the n values at a place.
	Vector(at int64, n int) (Buffer, error)
	// Drop gives the memory back, for what is asked for after what was asked so
	// far. Nothing that was made of it may be used any more.
	Drop()
}

// Stage is d's Stage, or where it has none a copy when the parts are asked for:
// then Weight and Vector prepare and write, and memory goes back by itself.
func Stage(d Device, image []byte) (Staged, error) {
	if s, ok := d.(Stager); ok {
		return s.Stage(image)
	}
	return &apart{d, image}, nil
}

// StageShape is the image of an outline: places without values.
func StageShape(o Outline) Staged { return &apart{o, nil} }

// apart has memory for each part of the image.
type apart struct {
	d     Device
	image []byte // nil for shapes
}

func (*apart) Done() bool { return true }
func (*apart) Join()      {}
func (*apart) Drop()      {}

func (s *apart) Weight(at int64, w Weight, use Use) (Prepared, error) {
	w.Data = nil
	if s.image != nil {
		size, _ := w.Type.Bytes(int64(w.N) * int64(w.K))
		w.Data = s.image[at : at+size : at+size]
	}
	return s.d.Prepare(w, use)
}

func (s *apart) Vector(at int64, n int) (Buffer, error) {
	b, err := s.d.Alloc(format.F32, n)
	if err == nil && s.image != nil {
		values := make([]float32, n)
		format.F32.Decode(values, s.image[at:])
		s.d.Write(b, values)
	}
	return b, err
}
