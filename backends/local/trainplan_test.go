package local

import (
	"errors"
	"strings"
	"testing"
	"unsafe"

	"github.com/evalrun/evalrun/backends/local/train"
	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/internal/memory"
	"github.com/evalrun/evalrun/kernels/cuda"
)

// smallGPU has so many bytes free and computes nothing.
type smallGPU int64

func (smallGPU) Name() string                  { return "small" }
func (g smallGPU) Memory() (free, total int64) { return int64(g), int64(g) }
func (smallGPU) Alloc(int64) (uint64, error) {
	return 0, errors.New("nothing is to be taken before the plan fits")
}
func (smallGPU) Free(uint64)                                        {}
func (smallGPU) Upload(uint64, unsafe.Pointer, int64) error         { return nil }
func (smallGPU) Download(unsafe.Pointer, uint64, int64) error       { return nil }
func (smallGPU) Clear(uint64, int64) error                          { return nil }
func (smallGPU) Function(string) (uintptr, error)                   { return 1, nil }
func (smallGPU) Launch(uintptr, int, int, int, int, []uint64) error { return nil }
func (smallGPU) Sync() error                                        { return nil }
func (smallGPU) Close() error                                       { return nil }
func (smallGPU) Processors() int                                    { return 132 }
func (smallGPU) Shared() int                                        { return 227 << 10 }

// On a GPU the plan is of its memory, and what is free there is the limit.
func TestPlanOnSmallGPU(t *testing.T) {
	dir := t.TempDir()
	b, err := New(core.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for _, c := range []struct {
		free int64
		fits bool
	}{{8 << 30, true}, {24 << 20, false}} {
		tr := &training{backend: b.(*backend), job: core.Job{Data: rowsFile(t, dir, 40), Recipe: `{"steps":32}`}, yield: func(core.TrainNews, error) bool { return true }}
		if err := errors.Join(tr.open(), tr.read()); err != nil {
			t.Fatal(err)
		}
		tr.dev = cuda.Over(smallGPU(c.free), nil)
		p, err := tr.plan()
		if p == nil {
			t.Fatalf("no plan: %v", err)
		}
		for _, m := range p.Memory {
			if !strings.HasPrefix(m.Name, "GPU: ") {
				t.Errorf("%s is no memory of the GPU", m.Name)
			}
		}
		var user *core.UserError
		switch {
		case c.fits && err != nil:
			t.Errorf("%d bytes free: %v", c.free, err)
		case !c.fits && (!errors.As(err, &user) || !strings.Contains(user.Message, "24 MiB are free on the GPU") || !strings.Contains(user.Hint, "lower accumulate, which is 16")):
			t.Errorf("%d bytes free: %v", c.free, err)
		case !c.fits && !p.Recompute:
			t.Error("activations are held where they do not fit")
		}
		if err := tr.close(); err != nil {
			t.Error(err)
		}
	}
}

// A container's limit counts where it is smaller than the machine, and the
// refusal names it.
func TestPlanInAGroup(t *testing.T) {
	machine, group := memory.Sizes{Total: 24 << 30}, memory.Sizes{Total: 24 << 30, Limit: 2 << 30, File: "/sys/fs/cgroup/memory.max"}
	b := &budget{}
	if b.share(machine); b.limit != 24<<30*9/10 || b.where != "may be used" || b.group != "" {
		t.Errorf("of the machine: %+v", b)
	}
	if b.share(group); b.limit != 2<<30*9/10 || b.where != "may be used, nine tenths of the 2048 MiB of /sys/fs/cgroup/memory.max" {
		t.Errorf("of the group: %+v", b)
	}
	for m, want := range map[memory.Sizes]string{machine: "needs 30720 MiB, and the machine has 24576 MiB", group: "needs 30720 MiB, and /sys/fs/cgroup/memory.max allows 2048 MiB"} {
		if got := tooLarge(30<<30, m); !strings.Contains(got, want) {
			t.Error(got)
		}
	}
	tr := &training{extent: &train.Extent{Longest: 9}}
	if hint := tr.smaller(&train.Plan{}, 1, b.group); !strings.Contains(hint, "give the container more memory") || strings.Contains(hint, "--memory") {
		t.Error(hint)
	}
}
