package probe

import (
	"path/filepath"
	"sort"
	"strings"
)

// GPU is what can be known of NVIDIA processors without talking to the driver.
type GPU struct {
	Names   []string `json:"names"`   // a processor each
	Driver  string   `json:"driver"`  // its version
	Library string   `json:"library"` // the driver's library, libcuda
	// Why says in one sentence what is missing for use; empty when nothing is.
	Why string `json:"why"`
}

// libraryFolders are where systems keep libcuda.so.1.
var libraryFolders = []string{
	"usr/lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu", "usr/lib64", "usr/lib", "lib/x86_64-linux-gnu", "lib64",
	"usr/local/cuda/compat", "usr/lib/wsl/lib", "run/opengl-driver/lib", "usr/local/nvidia/lib64",
}

// GPU looks for the kernel driver, the device files and the library.
func (m Machine) GPU() GPU {
	var g GPU
	infos, _ := filepath.Glob(m.path("proc/driver/nvidia/gpus/*/information"))
	sort.Strings(infos)
	for _, info := range infos {
		name, _ := filepath.Rel(m.path(""), info)
		if model := m.field(filepath.ToSlash(name), "Model"); model != "" {
			g.Names = append(g.Names, model)
		}
	}
	if _, version, ok := strings.Cut(m.read("proc/driver/nvidia/version"), "Kernel Module"); ok {
		for _, word := range strings.Fields(version) {
			if word[0] >= '0' && word[0] <= '9' {
				g.Driver = word
				break
			}
		}
	}
	for _, folder := range libraryFolders {
		if found, _ := filepath.Glob(m.path(folder + "/libcuda.so.1")); len(found) > 0 {
			g.Library = found[0]
			break
		}
	}
	devices, _ := filepath.Glob(m.path("dev/nvidia[0-9]*"))
	wsl, _ := filepath.Glob(m.path("dev/dxg"))
	switch {
	case len(devices)+len(wsl) == 0 && g.Driver != "":
		g.Why = "the driver is loaded, but this process sees no device file /dev/nvidia0: a container needs the GPU handed in"
	case len(devices)+len(wsl) == 0 && m.nvidiaOnBus():
		g.Why = "there is an NVIDIA processor, but its driver is not loaded: install the NVIDIA driver"
	case len(devices)+len(wsl) == 0:
		g.Why = "no NVIDIA processor was found: no /dev/nvidia0, no driver, none on the PCI bus"
	case g.Library == "":
		g.Why = "there is a device, but no libcuda.so.1: install the driver's libraries (NVIDIA's package libcuda1 or cuda-compat)"
	}
	return g
}

// nvidiaOnBus looks for a display or 3D controller of NVIDIA's, vendor 10de.
func (m Machine) nvidiaOnBus() bool {
	vendors, _ := filepath.Glob(m.path("sys/bus/pci/devices/*/vendor"))
	for _, v := range vendors {
		name, _ := filepath.Rel(m.path(""), v)
		class, _ := filepath.Rel(m.path(""), filepath.Join(filepath.Dir(v), "class"))
		if strings.TrimSpace(m.read(filepath.ToSlash(name))) == "0x10de" && strings.HasPrefix(m.read(filepath.ToSlash(class)), "0x03") {
			return true
		}
	}
	return false
}
