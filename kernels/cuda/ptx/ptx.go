// Package ptx carries the CUDA kernels as the driver takes them, and knows what
// each may be started with. The files are made from ../src by make ptx.
package ptx

import (
	"embed"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

//go:embed *.ptx
var files embed.FS

// A Kernel is an entry of a file.
type Kernel struct {
	Name, File string
	// Parameters is their number; each has 8 bytes.
	Parameters int
	// Threads is the most that a block may have, 0 where the source has no BOUNDS.
	Threads int
	// Shared is the memory in bytes that the source itself declares for a block.
	Shared int
}

var (
	bound  = regexp.MustCompile(`\.maxntid (\d+), 1, 1`)
	shared = regexp.MustCompile(`^ \.align \d+ \.b8 ([\w$]+)\[(\d+)\]`)
)

// Text gives a file.
func Text(file string) (string, error) {
	text, err := files.ReadFile(file)
	return string(text), err
}

// Kernels gives those for GPUs of a capability's major number, by name. Files for
// one capability alone, as wgmma's, end in _sm, its number and 0.
func Kernels(major int) map[string]Kernel {
	found := map[string]Kernel{}
	for _, k := range all() {
		_, only, some := strings.Cut(strings.TrimSuffix(k.File, ".ptx"), "_sm")
		if !some || only == strconv.Itoa(10*major) {
			found[k.Name] = k
		}
	}
	return found
}

var all = sync.OnceValue(func() (found []Kernel) {
	list, _ := files.ReadDir(".")
	for _, f := range list {
		text, _ := Text(f.Name())
		found = append(found, read(f.Name(), text)...)
	}
	return found
})

// read finds the kernels of a file. What one declares stands in it, or before all kernels
// where several have it.
func read(file, text string) (found []Kernel) {
	places := map[string]int{}
	for part := range strings.SplitSeq(text, ".shared") {
		if m := shared.FindStringSubmatch(part[:min(len(part), 200)]); m != nil {
			places[m[1]], _ = strconv.Atoi(m[2])
		}
	}
	parts := strings.Split(text, ".visible .entry ")
	for _, part := range parts[1:] {
		head, body, _ := strings.Cut(part, "{")
		name, parameters, _ := strings.Cut(head, "(")
		k := Kernel{Name: name, File: file, Parameters: strings.Count(parameters, ".param")}
		if m := bound.FindStringSubmatch(parameters); m != nil {
			k.Threads, _ = strconv.Atoi(m[1])
		}
		for place, bytes := range places {
			if strings.Contains(body, place) {
				k.Shared += bytes
			}
		}
		found = append(found, k)
	}
	return found
}

// Limits of every GPU that the kernels are for (CUDA C++ Programming Guide, technical
// specifications by compute capability).
const (
	mostThreads  = 1024
	mostDown     = 65535    // blocks in y; in x 2³¹-1
	mostDeclared = 48 << 10 // shared memory that a source may declare
	registers    = 64 << 10 // of a block
	ofThread     = 255      // at most; what the compiler takes where no bound is given
)

// Fits says why a GPU would refuse a start of the kernel: gridX·gridY blocks of so
// many threads, with dynamic bytes of shared memory beside what the source declares, of
// which a block may have most, and a number of parameters. A fault that it cannot see is
// a kernel that takes too many registers within its bound: the assembler refuses that.
func (k Kernel) Fits(gridX, gridY, threads, dynamic, most, parameters int) error {
	var why string
	switch {
	case parameters != k.Parameters:
		why = fmt.Sprintf("%d parameters, it declares %d", parameters, k.Parameters)
	case gridX < 1 || gridX > 1<<31-1 || gridY < 1 || gridY > mostDown:
		why = fmt.Sprintf("a grid of %d by %d blocks", gridX, gridY)
	case threads < 1 || threads > mostThreads:
		why = fmt.Sprintf("%d threads", threads)
	case k.Threads > 0 && threads > k.Threads:
		why = fmt.Sprintf("%d threads, it is bound to %d", threads, k.Threads)
	case k.Threads == 0 && threads > registers/(ofThread+1):
		why = fmt.Sprintf("%d threads without BOUNDS, which leaves it registers for %d", threads, registers/(ofThread+1))
	case k.Shared > mostDeclared:
		why = fmt.Sprintf("%d bytes of shared memory declared, the most is %d", k.Shared, mostDeclared)
	case k.Shared+dynamic > most:
		why = fmt.Sprintf("%d bytes of shared memory and %d declared, a block may have %d", dynamic, k.Shared, most)
	default:
		return nil
	}
	return fmt.Errorf("kernel %s would not start with %s", k.Name, why)
}
