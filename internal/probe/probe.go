// Package probe looks at the machine without disturbing it: processor, memory
// and graphics processors, from what the system says in files. It starts
// nothing and needs no C library.
package probe

import (
	"bufio"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/cpu"

	"github.com/evalrun/evalrun/internal/memory"
)

// CPU describes the processor.
type CPU struct {
	Model    string   `json:"model"`
	Arch     string   `json:"arch"`
	Cores    int      `json:"cores"`    // that this process may use
	AtOnce   int      `json:"at_once"`  // and how many at a time: GOMAXPROCS, which a group's share of time bounds
	Features []string `json:"features"` // of those that kernels care for
	Missing  []string `json:"missing"`
}

// Machine reads the files below root, which is "/" but for tests.
type Machine struct{ Root string }

// This is the machine that the process runs on.
var This = Machine{"/"}

func (m Machine) path(name string) string { return filepath.Join(m.Root, filepath.FromSlash(name)) }

func (m Machine) read(name string) string {
	b, err := os.ReadFile(m.path(name))
	if err != nil {
		return ""
	}
	return string(b)
}

// CPU asks the processor itself for its features, the system for the rest.
func (m Machine) CPU() CPU {
	c := CPU{Arch: runtime.GOARCH, Cores: runtime.NumCPU(), AtOnce: runtime.GOMAXPROCS(0), Model: m.field("proc/cpuinfo", "model name")}
	if c.Model == "" {
		c.Model = "unknown processor"
	}
	for _, f := range features() {
		if f.has {
			c.Features = append(c.Features, f.name)
		} else {
			c.Missing = append(c.Missing, f.name)
		}
	}
	return c
}

type feature struct {
	name string
	has  bool
}

func features() []feature {
	switch runtime.GOARCH {
	case "amd64":
		x := cpu.X86
		return []feature{
			{"avx2", x.HasAVX2}, {"fma", x.HasFMA}, {"avx512f", x.HasAVX512F}, {"avx512_vnni", x.HasAVX512VNNI},
			{"avx512_bf16", x.HasAVX512BF16}, {"amx_int8", x.HasAMXInt8}, {"amx_bf16", x.HasAMXBF16},
		}
	case "arm64":
		x := cpu.ARM64
		return []feature{{"asimd", x.HasASIMD}, {"asimddp", x.HasASIMDDP}, {"fphp", x.HasFPHP}, {"sve", x.HasSVE}}
	}
	return nil
}

// field is the value of the first "name : value" line of a file.
func (m Machine) field(file, name string) string {
	lines := bufio.NewScanner(strings.NewReader(m.read(file)))
	for lines.Scan() {
		if key, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// Memory is what the system has, what is left, and the group's limit.
func (m Machine) Memory() memory.Sizes { return memory.Under(m.Root) }
