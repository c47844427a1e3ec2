package kernels

// A Gatherer is a device that can gather operations and start them at once. Its
// operations inside f may be held back until f returns, or until something is
// read; what they compute, and its bits, stay those of calling them one by one.
//
// It pays where the same operations come again and again on the same buffers, as
// in decoding: what repeats is then started with one call. Nothing else has to
// be equal; positions, pages and buffers may differ from call to call.
type Gatherer interface {
	Together(f func())
}

// Together is d's Together, or f alone where d has none.
func Together(d Device, f func()) {
	if g, ok := d.(Gatherer); ok {
		g.Together(f)
		return
	}
	f()
}
