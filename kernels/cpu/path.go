package cpu

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/evalrun/evalrun/kernels/format"
)

// PathVariable is the environment variable that names the instruction-set path
// to use in place of the fastest: the way to get the same bits on two machines.
const PathVariable = "EVALRUN_CPU"

// ErrNoPath says that the machine lacks the instructions that were named.
var ErrNoPath = errors.New("this machine cannot compute so")

// A path is one way to compute the inner loops. All members of a path work the
// same way on every machine that has it.
type path struct {
	name string
	// tile is described at tileGo.
	tile func(c []float32, ldc int, a []float32, lda, rows int, b []float32, step, k, panels int, more bool)
	// softmax is described at softmaxGo.
	softmax    func(s []float32, count int, top, total *float32) float32
	sumSquares func(x []float32) float32
	// gate is described at gateGo.
	gate func(dst, x, z, up []float32)
	// slopes is described at slopesGo.
	slopes func(y, slope, x, z, dz []float32)
	// scaleAdd is acc[i] = acc[i]*scale + x[i]; unless scale is 1, the length is
	// a multiple of 8.
	scaleAdd func(acc, x []float32, scale float32)
	// exp is x[i] = exp32(x[i] - shift).
	exp func(x []float32, shift float32)
	// decode4, decode8, roundBF16 and interleave are described at their twins in
	// decode.go.
	decode4   func(dst []float32, codes []byte, size int, t *lookup, scales []float32)
	decode8   func(dst []float32, codes []byte, scale float32)
	roundBF16 func(x []float32)
	// plain decodes a format as its Type does, and is false for those that it
	// does not know; nil knows none.
	plain func(dst []float32, src []byte, t format.Type) bool
	// prefetch asks for memory that will be read soon.
	prefetch   func(x []byte)
	interleave func(dst, src []float32, stride, n int)

	// For Measure: read loads x; fma does n times flops operations.
	read  func(x []float32)
	fma   func(n int)
	flops int
}

var plain = path{"go", tileGo, softmaxGo, sumSquaresGo, gateGo, slopesGo, scaleAddGo, expGo, decode4Go, decode8Go, roundBF16Go, nil, func([]byte) {}, interleaveGo, readGo, fmaGo, 16}

// paths are those that this machine can run, the fastest first.
func paths() []*path { return append(archPaths(), &plain) }

// Paths names the instruction-set paths that this machine can run, the fastest
// first. "go" is always among them.
func Paths() []string {
	var names []string
	for _, p := range paths() {
		names = append(names, p.name)
	}
	return names
}

func choosePath(name string) (*path, error) {
	if name == "" {
		name = os.Getenv(PathVariable)
	}
	all := paths()
	if name == "" {
		return all[0], nil
	}
	for _, p := range all {
		if p.name == name {
			return p, nil
		}
	}
	return nil, fmt.Errorf("%q: %w; it has %s", name, ErrNoPath, strings.Join(Paths(), ", "))
}
