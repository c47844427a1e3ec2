package cli

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/evalrun/evalrun/backends/local/device"
	"github.com/evalrun/evalrun/internal/probe"
	"github.com/evalrun/evalrun/kernels/cuda/driver"
)

// cudaVariable keeps the program as it is when it is "off".
const cudaVariable = "EVALRUN_CUDA"

// cudaProbe is the hidden argument with which the CUDA build is asked whether
// CUDA starts. It is another process because a driver that is broken may end it.
const cudaProbe = "cuda-probe"

// redirect goes on as the CUDA build of this program where there is a GPU and
// that build lies beside it, so that every command runs there. It returns when
// this program is to do the work.
func redirect() {
	if driver.Built || os.Getenv(cudaVariable) == "off" {
		return
	}
	self, err := os.Executable()
	if err != nil {
		return
	}
	other, why := cudaBuild(self, probe.This)
	if other != "" {
		err := syscall.Exec(other, append([]string{other}, os.Args[1:]...), os.Environ())
		why = fmt.Sprintf("%s: %v", other, err)
	}
	if why != "" {
		fmt.Fprintf(os.Stderr, "evalrun: computing on the CPU: %s\n", why)
	} else {
		why = probe.This.GPU().Why // of interest where a GPU is asked for
	}
	if why != "" {
		_ = os.Setenv(device.WhyVariable, why)
	}
}

// probeCUDA answers cudaProbe: nothing where CUDA starts, else a sentence.
func probeCUDA() int {
	if err := driver.Starts(); err != nil {
		fmt.Println(err)
		return ExitUsage
	}
	return ExitOK
}

// cudaBuild is the CUDA build beside the program self, where the machine has a
// GPU and CUDA starts; else why, if there is something to say.
func cudaBuild(self string, m probe.Machine) (path, why string) {
	if real, err := filepath.EvalSymlinks(self); err == nil {
		self = real
	}
	other := filepath.Join(filepath.Dir(self), "evalrun-cuda")
	if info, err := os.Stat(other); err != nil || info.IsDir() || m.GPU().Why != "" {
		return "", ""
	}
	if out, err := exec.Command(other, cudaProbe).CombinedOutput(); err != nil {
		line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		if line == "" { // it was killed
			line = err.Error()
		}
		return "", "there is a GPU, but it cannot be used: " + line
	}
	return other, ""
}
