//go:build emulate && amd64 && check

package emulate

import (
	"regexp"
	"strings"
	"testing"
	"unsafe"

	"github.com/evalrun/evalrun/kernels/cuda/ptx"
)

// What is wrong with each kernel of wrong.cc, as it has to be told. Where the one that reads
// comes first there is nothing yet.
var wrong = map[string]string{
	"neighbour":       "race: thread|no thread of the block wrote",
	"round":           "race: thread",
	"warpNeighbour":   "race: thread",
	"otherWarp":       "race: thread|no thread of the block wrote",
	"otherGroup":      "race: thread|no thread of the block wrote",
	"sameValue":       "race: thread",
	"halves":          "race: thread 1 writes 2 bytes",
	"copied":          "is under way",
	"copiedByOther":   "race: thread|no thread of the block wrote",
	"copiedOver":      "race: thread",
	"copySource":      "race: thread",
	"blocks":          "of block 0, 0 wrote them",
	"blockReads":      "of block 0, 0 wrote them",
	"beyond":          "outside of memory: thread 255 writes 4 bytes",
	"beyondRead":      "outside of memory: thread 252 reads 4 bytes",
	"beyondShared":    "outside of memory: thread",
	"beyondStatic":    "outside of memory: thread 255 writes",
	"null":            "address 0, which is nobody's",
	"unwritten":       "that no thread of the block wrote",
	"unwrittenGlobal": "that nobody wrote",
	"returned":        "some have returned",
	"parted":          "of its warp waits at a barrier",
	"waiting":         "of its warp waits at",
	"stuck":           "no thread can go on",
	"left":            "race: thread",
	"words":           "race: thread|no thread of the block wrote",
	"matrices":        "race: thread",
}

func TestEmulatedChecks(t *testing.T) {
	for name, want := range wrong {
		t.Run(name, func(t *testing.T) {
			for _, order := range []int{0, 1} {
				if err := run(t, name+"Right", order); err != nil {
					t.Errorf("the right one: %v", err)
				}
				err := run(t, name+"Wrong", order)
				if err == nil || !regexp.MustCompile(want).MatchString(err.Error()) {
					t.Errorf("%v: want %q", err, want)
				}
				if order == 0 {
					t.Log(err)
				}
			}
		})
	}
}

func run(t *testing.T, name string, order int) error {
	m := New()
	m.kernels[name] = ptx.Kernel{Name: name, Parameters: 1, Threads: 256}
	f, err := m.Function(name)
	if err != nil {
		t.Fatal(err)
	}
	const size, values = 4096, 512
	at, err := m.Alloc(size)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Free(at)
	bytes := int64(4 * values)
	if strings.HasPrefix(name, "unwrittenGlobal") {
		bytes *= 2
	}
	m.Taken(at, bytes, size)
	x := make([]float32, values)
	if err := m.Upload(at, unsafe.Pointer(&x[0]), 4*values); err != nil {
		t.Fatal(err)
	}
	return m.Launch(f, 2, 1, 256, 4096, []uint64{at})
}
