package kernels

// Run is a sequence of a packed batch: rows Row to Row+N-1 hold the tokens at
// positions 0 to N-1. Tokens of different runs do not see each other.
type Run struct {
	Row, N int
}

// Pages lays runs into pages of keys one after the other: spans of the runs that
// are not empty, and how many pages they have.
func Pages(runs []Run) (spans []Span, pages int) {
	for _, r := range runs {
		if r.N == 0 {
			continue
		}
		span := Span{Row: r.Row, N: r.N}
		for range (r.N + PageTokens - 1) / PageTokens {
			span.Pages = append(span.Pages, int32(pages))
			pages++
		}
		spans = append(spans, span)
	}
	return spans, pages
}

// AttentionShape is the shape of an attention layer over packed rows: q is
// [T, Heads·Dim], k and v are [T, KVHeads·Dim].
type AttentionShape struct {
	Heads, KVHeads, Dim int
	AttentionOptions
}

// Decay says where AdamOptions.WeightDecay acts.
type Decay uint8

const (
	// DecayBefore: p is multiplied by 1 - lr·decay before the update (AdamW,
	// Loshchilov and Hutter, 2019, as torch has it, and bitsandbytes on a CPU).
	DecayBefore Decay = iota
	// DecayAfter: after the update, as bitsandbytes' CUDA kernel has it.
	DecayAfter
	// DecayInGradient: decay·p is added to the gradient (torch's Adam).
	DecayInGradient
)

// AdamOptions are the constants of one step.
type AdamOptions struct {
	LR, Beta1, Beta2, Eps float64
	WeightDecay           float64
	Decay                 Decay
	Step                  int     // the first is 1
	GradScale             float64 // what gradients are multiplied by first, such as a clip's factor
}

// Dropping identifies the random numbers of a dropout. Whether value i of row t
// is dropped depends on Seed, Stream, Rows[t] and i alone, so a recomputed
// forward pass, a resumed training and any packing drop the same values.
type Dropping struct {
	P      float32
	Seed   uint64
	Stream uint32   // the layer and module
	Rows   []uint64 // for each row, its example and position
}

// TrainDevice adds what training needs to a Device: the gradient of each
// operation that has one, the loss and the optimiser.
//
// A gradient is of a number, the loss L: dx stands for ∂L/∂x and is as large as
// x. Operations named …Back take dy, the gradient of what the operation of that
// name gave, and give the gradients of its operands; those that the epilogue
// names are stored or added. Gradients of weights are always added to what the
// buffer holds, and left out where the buffer is nil.
//
// # Same bits
//
// A sum over rows goes through fixed chunks of ChunkRows rows, counted from row
// 0 of the call, each summed on its own in the order of the rows and then added
// in the order of the chunks. A sum over parameters goes through chunks of
// ChunkValues. The results do not depend on the number of threads. WeightGrad of
// a matrix with a small side (a low-rank pair's) may take another order, if that
// depends on the number of rows alone.
type TrainDevice interface {
	Device

	// PrepareTrained is a weight [n, k] whose values are a buffer that changes.
	// After a change, Refresh brings the prepared form up to date.
	PrepareTrained(values Buffer, n, k int, use Use) (Prepared, error)
	Refresh(p Prepared)

	// MatMulBack: dx [T, K] = dy [T, N] · W, read from the checkpoint's own
	// layout. The sum over N goes through chunks as sums over rows do.
	MatMulBack(dx, dy Buffer, rows int, w Prepared, e Epilogue)
	// WeightGrad: dw [n, k] = dw + Σ_t dy[t]ᵀ · x[t].
	WeightGrad(dw, dy, x Buffer, rows, n, k int)
	// ColumnDots: dst[i] = dst[i] + Σ_t a[t][i] · b[t][i], rows as wide as dst;
	// b nil counts as ones: the gradient of AddBias.
	ColumnDots(dst, a, b Buffer, rows int)

	// RMSNormBack and LayerNormBack: with x̂ the normalised row, s the factor
	// that made it and g = dy·weight,
	//
	//	RMSNorm    dx = s·(g - x̂·mean(g·x̂))             dweight += Σ_t dy·x̂
	//	LayerNorm  dx = s·(g - mean(g) - x̂·mean(g·x̂))   dbias += Σ_t dy as well
	//
	// x is what the operation was given. dx may be dy.
	RMSNormBack(dx, dweight, dy, x, weight Buffer, rows int, eps float32, e Epilogue)
	LayerNormBack(dx, dweight, dbias, dy, x, weight Buffer, rows int, eps float32, e Epilogue)
	// RopeBack turns gradients back by the angles of their rows, in place.
	RopeBack(dx Buffer, heads, dim int, cos, sin Buffer, half int, pos []int32, style RopeStyle)

	// ActivateBack: dx[i] = dy[i] · a'(x[i]), in place on dy or x.
	ActivateBack(dx, dy, x Buffer, n int, a Activation)
	// GateBack: dgate = dy · up · a'(gate), dup = dy · a(gate); dgate may be
	// gate and dup may be up or dy.
	GateBack(dgate, dup, dy, gate, up Buffer, n int, a Activation)
	// SoftCapBack: dx[i] = dy[i] · (1 - tanh²(x[i]/cap)), x being what SoftCap
	// was given. In place on dy or x.
	SoftCapBack(dx, dy, x Buffer, n int, cap float32)
	// Scatter: dst[rows[i]] = dst[rows[i]] + x[i] in the order of i, rows of
	// width cols: the gradient of Gather, and of Embed with its ids.
	Scatter(dst, x Buffer, rows []int32, cols int)
	// PutColumns stores x [T, n] as columns from to from+n-1 of dst [T, width]:
	// the gradient of Columns.
	PutColumns(dst, x Buffer, rows, width, from, n int)
	// Divide: dst[i] = x[i] / y[i], n values, in place.
	Divide(dst, x, y Buffer, n int)
	// Fill: dst[i] = value, n values.
	Fill(dst Buffer, n int, value float32)

	// AttentionTrain is Attention over packed rows, with the same bits where the
	// device computes in float32. lse [T, Heads] receives for each row and head the
	// logarithm of the sum of exp(score), which AttentionBack needs.
	AttentionTrain(dst, lse, q, k, v Buffer, runs []Run, s AttentionShape)
	// AttentionBack: with P = exp(score - lse) and D = Σ dy·y of a row and head,
	//
	//	dv = Pᵀ·dy   dS = P·(dy·vᵀ - D)   dq = scale·dS·k   dk = scale·dSᵀ·q
	//
	// dS being multiplied by the derivative of the soft cap where there is one
	// (Dao, 2023). Query heads that share a head of k and v are summed in their
	// order. Rows of no run stay. y is what AttentionTrain gave.
	AttentionBack(dq, dk, dv, dy, y, lse, q, k, v Buffer, runs []Run, s AttentionShape)

	// CrossEntropy: loss[t] = log Σ_j exp(logits[t][j]) - logits[t][labels[t]]
	// for rows of vocab logits, and where dlogits is not nil, dlogits[t] =
	// weights[t] · (softmax(logits[t]) - onehot(labels[t])), in place.
	CrossEntropy(loss, dlogits, logits Buffer, vocab int, labels []int32, weights []float32)

	// Adam updates n values p by their gradients g (Kingma and Ba, 2015), m and
	// v being the running means, with c1 = 1 - β1^step, c2 = √(1 - β2^step):
	//
	//	m = β1·m + (1-β1)·g   v = β2·v + (1-β2)·g²
	//	p = p - lr·c2/c1 · m / (√v + eps·c2)
	//
	// coefficients in float64 and rounded once, the rest in float32.
	Adam(p, g, m, v Buffer, n int, o AdamOptions)
	// SumSquares gives Σ x[i]² over all values of each buffer, in float64. The
	// host waits once for all of them.
	SumSquares(xs ...Buffer) []float64
	// Dropout: x[t][i] / (1 - P), or 0 with probability P, for the rows of d,
	// of width cols; stored in or added to dst. On gradients it is its own Back.
	Dropout(dst, x Buffer, cols int, d Dropping, e Epilogue)
}

// RoundedProducts is a fusion that a TrainDevice may offer: the products of
// training in bfloat16, and between them values that lie in that type. All bits are
// those of the operations that it stands for.
//
// A buffer of BF16 holds what Round to BF16 gives: an operation that stores there
// rounds last. Products take it as x and dy, and as dst where nothing is added;
// Fill, Round, RMSNorm and LayerNorm take it as dst; Gather, Scatter, Gate, GateBack,
// Activate and ActivateBack take buffers that are all of BF16; AttentionTrain takes
// it as dst, AttentionBack as y and dy, both. Others do not.
type RoundedProducts interface {
	// Rounds tells whether the device fuses the products with a weight; it is given
	// no others.
	Rounds(w Prepared) bool
	// RoundsAttention tells whether attention of a shape takes buffers of BF16; it is
	// given none where not.
	RoundsAttention(s AttentionShape) bool
	// MatMulsRounded multiplies x with several weights: Round to BF16 of x, and of
	// each product. dsts[i] becomes plus + product, where plus is not nil, which may
	// be dsts[i] itself.
	MatMulsRounded(dsts []Buffer, plus, x Buffer, rows int, ws []Prepared)
	// MatMulBacksRounded is the same of MatMulBack: to plus, where it is not nil, the
	// product of each dy with its weight is added, in their order. dx is of BF16 only
	// where there is one.
	MatMulBacksRounded(dx, plus Buffer, dys []Buffer, rows int, ws []Prepared)
	// RMSNormBoth and RMSNormBackBoth are RMSNorm and RMSNormBack with a second
	// result, half of BF16: what Round gives of the first.
	RMSNormBoth(dst, half, x, weight Buffer, rows int, eps float32)
	RMSNormBackBoth(dx, half, dweight, dy, x, weight Buffer, rows int, eps float32, e Epilogue)
	// RopeBackBoth is RopeBack of heads that are rotated as a whole, likewise.
	RopeBackBoth(dx, half Buffer, heads, dim int, cos, sin Buffer, pos []int32, style RopeStyle)
}

// A PairTrainer is a TrainDevice that trains a low-rank pair beside a layer in few
// operations, which drop values of x where they read it. Other devices, and other
// pairs, go through the operations that the formulas name, and differ in no more
// than the order of their sums.
type PairTrainer interface {
	// TrainsPair tells whether the device does so for a pair of this shape, A and
	// B being of PrepareTrained.
	TrainsPair(l LowRank) bool
	// PairsForward is of the pairs beside layers of one input x [T, K]: with x' = Dropout
	// of x it stores Low [T, rank] = x'·Aᵀ, which PairsBack needs, and adds scale·Low·Bᵀ
	// to Y [T, N].
	PairsForward(x Buffer, rows int, ps []TrainedPair)
	// PairsBack takes in Y the gradient of Y, adds the gradients of A and B and, where
	// dx is not nil, that of x, in the order of the pairs:
	//
	//	dB += s·Yᵀ·Low    dA += (s·Y·B)ᵀ·x'    dx += mask ∘ (s·Y·B)·A / (1 - P)
	PairsBack(dx, x Buffer, rows int, ps []TrainedPair)
}

// TrainedPair is a low-rank pair beside a layer. Pairs of one call have the Rows and
// the Seed of the first; with P 0 there need be none.
type TrainedPair struct {
	LowRank
	Dropping
	Y, Low       Buffer
	GradA, GradB Buffer
}

// A Keeper is a TrainDevice that multiplies faster with a frozen weight when it
// keeps the decoded values beside the codes, where there is memory for them.
// The bits are the same.
type Keeper interface {
	// Keep keeps the values of a prepared weight for MatMul, and where back is
	// set for MatMulBack as well. A weight that would gain nothing stays as it is.
	Keep(p Prepared, back bool) error
}

// AdamParameter is what Adam takes of N values.
type AdamParameter struct {
	P, G, M, V Buffer
	N          int
}

// ManyAdam is a TrainDevice that updates many parameters at once, with the bits of
// one after another.
type ManyAdam interface {
	AdamAll(ps []AdamParameter, o AdamOptions)
}

// AdamAll is Adam of each, and Fill of its gradient with 0.
func AdamAll(d TrainDevice, ps []AdamParameter, o AdamOptions) {
	if many, ok := d.(ManyAdam); ok {
		many.AdamAll(ps, o)
		return
	}
	for _, p := range ps {
		d.Adam(p.P, p.G, p.M, p.V, p.N, o)
		d.Fill(p.G, p.N, 0)
	}
}

// Chunks of sums that run over rows and over parameters.
const (
	ChunkRows   = 512
	ChunkValues = 4096
)

// Philox is the counter-based generator Philox4x32-10 (Salmon et al., 2011):
// four random words of a counter and a key.
func Philox(counter [4]uint32, key uint64) [4]uint32 {
	c, k0, k1 := counter, uint32(key), uint32(key>>32)
	for range 10 {
		a, b := uint64(0xd2511f53)*uint64(c[0]), uint64(0xcd9e8d57)*uint64(c[2])
		c = [4]uint32{uint32(b>>32) ^ c[1] ^ k0, uint32(b), uint32(a>>32) ^ c[3] ^ k1, uint32(a)}
		k0, k1 = k0+0x9e3779b9, k1+0xbb67ae85
	}
	return c
}

// Keep reports which of values 4·group to 4·group+3 of row t a dropout keeps.
func (d *Dropping) Keep(t, group int) (keep [4]bool) {
	r := Philox([4]uint32{uint32(d.Rows[t]), uint32(d.Rows[t] >> 32), d.Stream, uint32(group)}, d.Seed)
	limit := uint64(float64(d.P) * (1 << 32))
	for i, w := range r {
		keep[i] = uint64(w) >= limit
	}
	return keep
}

// CheckRuns panics unless the runs ascend within rows rows.
func CheckRuns(runs []Run, rows int) {
	last := 0
	for _, r := range runs {
		if r.Row < last || r.N < 0 || r.Row+r.N > rows {
			panic("BUG: runs overlap or leave the batch")
		}
		last = r.Row + r.N
	}
}
