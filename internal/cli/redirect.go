package cli

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/evalrun/evalrun/internal/probe"
	"github.com/evalrun/evalrun/kernels/cuda"
)

// cudaVariable keeps the program as it is when it is "off".
const cudaVariable = "EVALRUN_CUDA"

// cudaProbe is the hidden argument with which the CUDA build is asked whether
// CUDA starts: its driver binding ends the process where it does not.
const cudaProbe = "cuda-probe"

// redirect goes on as the CUDA build of this program where there is a GPU and
// that build lies beside it, so that every command runs there. It returns when
// this program is to do the work.
func redirect() {
	if cuda.Built || os.Getenv(cudaVariable) == "off" {
		return
	}
	self, err := os.Executable()
	if err != nil {
		return
	}
	if real, err := filepath.EvalSymlinks(self); err == nil {
		self = real
	}
	other := filepath.Join(filepath.Dir(self), "evalrun-cuda")
	if info, err := os.Stat(other); err != nil || info.IsDir() || probe.This.GPU().Why != "" {
		return
	}
	if out, err := exec.Command(other, cudaProbe).CombinedOutput(); err != nil {
		why, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		fmt.Fprintf(os.Stderr, "evalrun: computing on the CPU: there is a GPU, but CUDA does not start: %s\n", strings.TrimSpace(why+" ("+err.Error()+")"))
		return
	}
	err = syscall.Exec(other, append([]string{other}, os.Args[1:]...), os.Environ())
	fmt.Fprintf(os.Stderr, "evalrun: computing on the CPU: %s: %v\n", other, err)
}
