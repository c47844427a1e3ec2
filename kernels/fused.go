package kernels

// A Fuser is a device that computes some sequences of operations in one, with
// the same bits. Each method tells whether it did; where not, it has done
// nothing. The functions of the same names fall back to the operations.
type Fuser interface {
	MatMuls(dsts []Buffer, x Buffer, rows int, ws []Prepared) bool
	MatMulGate(dst, x Buffer, rows int, gate, up Prepared, a Activation) bool
	RopeStoreKV(q, k, v Buffer, heads int, r Rotation, pos []int32, kv KV, spans []Span) bool
}

// Rotation is what Rope turns heads of size Dim by.
type Rotation struct {
	Dim      int
	Cos, Sin Buffer
	Half     int
	Style    RopeStyle
}

// MatMuls stores the products of x [T, K] with several weights [Ni, K], each to
// its dst [T, Ni].
func MatMuls(d Device, dsts []Buffer, x Buffer, rows int, ws []Prepared) {
	if f, ok := d.(Fuser); ok && f.MatMuls(dsts, x, rows, ws) {
		return
	}
	for i, w := range ws {
		d.MatMul(dsts[i], x, rows, w, Store)
	}
}

// MatMulGate: dst = a(x·gateᵀ) · (x·upᵀ), dst and work [T, N] for weights [N, K].
// What work holds afterwards is the device's business.
func MatMulGate(d Device, dst, work, x Buffer, rows int, gate, up Prepared, a Activation) {
	if f, ok := d.(Fuser); ok && f.MatMulGate(dst, x, rows, gate, up, a) {
		return
	}
	n, _ := gate.Shape()
	MatMuls(d, []Buffer{dst, work}, x, rows, []Prepared{gate, up})
	d.Gate(dst, dst, work, rows*n, a)
}

// RopeStoreKV rotates the heads of q [T, heads·Dim] and of k by the angles of
// their rows, and stores k and v at their positions. k may be rotated in place
// or not.
func RopeStoreKV(d Device, q, k, v Buffer, heads, kvHeads int, r Rotation, pos []int32, kv KV, spans []Span) {
	if f, ok := d.(Fuser); ok && f.RopeStoreKV(q, k, v, heads, r, pos, kv, spans) {
		return
	}
	d.Rope(q, heads, r.Dim, r.Cos, r.Sin, r.Half, pos, r.Style)
	d.Rope(k, kvHeads, r.Dim, r.Cos, r.Sin, r.Half, pos, r.Style)
	d.StoreKV(kv, k, v, spans)
}
