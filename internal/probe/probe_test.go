package probe

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/evalrun/evalrun/internal/memory"
)

// machine makes a folder that looks like a machine.
func machine(t *testing.T, files map[string]string) Machine {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return Machine{root}
}

func TestGPU(t *testing.T) {
	driver := map[string]string{
		"proc/driver/nvidia/version":                       "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\nGCC version: 12\n",
		"proc/driver/nvidia/gpus/0000:01:00.0/information": "Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 42\n",
	}
	with := func(more ...string) map[string]string {
		all := map[string]string{}
		for k, v := range driver {
			all[k] = v
		}
		for _, f := range more {
			all[f] = ""
		}
		return all
	}
	for name, c := range map[string]struct {
		files map[string]string
		why   string
	}{
		"nothing":    {nil, "no NVIDIA processor"},
		"container":  {with(), "this process sees no device file"},
		"no driver":  {map[string]string{"sys/bus/pci/devices/0000:01:00.0/vendor": "0x10de\n", "sys/bus/pci/devices/0000:01:00.0/class": "0x030200\n"}, "driver is not loaded"},
		"other bus":  {map[string]string{"sys/bus/pci/devices/0000:01:00.0/vendor": "0x10de\n", "sys/bus/pci/devices/0000:01:00.0/class": "0x0c0330\n"}, "no NVIDIA processor"},
		"no library": {with("dev/nvidia0"), "no libcuda.so.1"},
		"complete":   {with("dev/nvidia0", "usr/lib/x86_64-linux-gnu/libcuda.so.1"), ""},
		"wsl":        {with("dev/dxg", "usr/lib/wsl/lib/libcuda.so.1"), ""},
	} {
		g := machine(t, c.files).GPU()
		if c.why == "" && g.Why != "" || !strings.Contains(g.Why, c.why) {
			t.Errorf("%s: %q, want %q", name, g.Why, c.why)
		}
		if c.files["proc/driver/nvidia/version"] != "" && (g.Driver != "550.54.15" || len(g.Names) != 1 || g.Names[0] != "NVIDIA H100 80GB HBM3") {
			t.Errorf("%s: driver %q, processors %q", name, g.Driver, g.Names)
		}
	}
}

func TestMemory(t *testing.T) {
	m := machine(t, map[string]string{
		"proc/meminfo": "MemTotal:       25165824 kB\nMemFree:  1 kB\nMemAvailable:   20971520 kB\n",
		"proc/cpuinfo": "processor\t: 0\nmodel name\t: A Fine CPU\n",
	})
	if got, want := m.Memory(), (memory.Sizes{Total: 24 << 30, Available: 20 << 30}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if c := m.CPU(); c.Model != "A Fine CPU" || c.Cores != runtime.NumCPU() || c.AtOnce != runtime.GOMAXPROCS(0) {
		t.Errorf("%+v", c)
	}
	none := machine(t, map[string]string{"sys/fs/cgroup/memory.max": "max\n"})
	if got := none.Memory(); got != (memory.Sizes{}) {
		t.Errorf("%+v from nothing", got)
	}
	if c := none.CPU(); c.Model == "" {
		t.Error("a processor without a name")
	}
}
