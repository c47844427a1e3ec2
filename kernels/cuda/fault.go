package cuda

import "fmt"

// A Fault is an error of a GPU that was at work: a kernel failed, the device
// was lost, or memory ran out where an operation needed some for itself. The
// device is of no more use. A kernel's failure is told by whatever waits for it,
// or by the next call of any kind: What may name another.
type Fault struct {
	What string
	Err  error
}

func (f *Fault) Error() string { return fmt.Sprintf("the GPU failed: %s: %v", f.What, f.Err) }
func (f *Fault) Unwrap() error { return f.Err }

// MemoryError says that the GPU's memory is too small. What to do about it
// depends on what is done there, and is for the caller to say.
type MemoryError struct {
	Bytes, Held, Free, Total int64
}

func (e *MemoryError) Error() string {
	const mib = 1 << 20
	return fmt.Sprintf("the GPU's memory is too small: %d MiB more are wanted, %d MiB are in use here, other programs and the driver have %d, and %d of %d MiB are free",
		(e.Bytes+mib-1)/mib, e.Held/mib, max(0, e.Total-e.Free-e.Held)/mib, e.Free/mib, e.Total/mib)
}
