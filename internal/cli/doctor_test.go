package cli

import (
	"encoding/json"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evalrun/evalrun/internal/memory"
	"github.com/evalrun/evalrun/internal/probe"
	"github.com/evalrun/evalrun/kernels/cpu"
)

func doctor(t *testing.T, args ...string) string {
	t.Helper()
	cmd := newDoctor()
	var out strings.Builder
	cmd.SetOut(&out)
	cmd.SetArgs(args)
	if err := cmd.Execute(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestDoctorQuick(t *testing.T) {
	screen := doctor(t, "--quick")
	for _, want := range []string{"program", "processor", "memory", "GPU", "kernels", "threads"} {
		if !strings.Contains(screen, want) {
			t.Errorf("no word of %s in\n%s", want, screen)
		}
	}
	if n := strings.Count(screen, "\n"); n > 24 {
		t.Errorf("%d lines: more than a screen", n)
	}
	var d diagnosis
	if err := json.Unmarshal([]byte(doctor(t, "--quick", "--json")), &d); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(d.Paths, d.Path) || d.CPU.Cores != runtime.NumCPU() || d.Threads < 1 || d.Ceiling != nil {
		t.Errorf("%+v", d)
	}
	if t.Setenv(cpu.PathVariable, "go"); !strings.Contains(doctor(t, "--quick"), "cpu, go (by EVALRUN_CPU") {
		t.Error("the chosen path is not told")
	}
}

func TestDoctorWrongPath(t *testing.T) {
	t.Setenv(cpu.PathVariable, "mmx")
	cmd := newDoctor()
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs([]string{"--quick"})
	if err := cmd.Execute(); err == nil || !strings.Contains(err.Error(), "EVALRUN_CPU=mmx") {
		t.Errorf("error %v", err)
	}
}

// What counts is told where it is less than the machine has.
func TestDoctorInAContainer(t *testing.T) {
	d := diagnosis{
		CPU:    probe.CPU{Model: "A Fine CPU", Cores: 8, AtOnce: 2},
		Memory: memory.Sizes{Total: 24 << 30, Available: 20 << 30, Limit: 4 << 30, File: "/sys/fs/cgroup/memory.max"},
	}
	for variable, want := range map[string]string{"": "8 cores, 2 at once by this process's group", "2": "8 cores, 2 at once by GOMAXPROCS"} {
		t.Setenv("GOMAXPROCS", variable)
		var out strings.Builder
		if err := d.print(&out); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{want, "24.0 GiB, 20.0 GiB available; 4.0 GiB count, which /sys/fs/cgroup/memory.max allows"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("no %q in\n%s", want, out.String())
			}
		}
	}
}

// What doctor prints of measurements, with measurements that are known.
func TestDoctorPrint(t *testing.T) {
	d := diagnosis{
		GPU: probe.GPU{Names: []string{"NVIDIA H100"}, Driver: "550"}, CUDA: "it computes", Path: "avx2", Paths: []string{"avx2", "go"}, Threads: 2,
		Ceiling: &ceilings{ReadGBs: 40, CopyGBs: 20, GFLOPS: 400},
		Kernels: []kernelRate{{Format: "NF4", Bits: 4.127, ReadGBs: 10, ReadShare: 0.25, Gweights: 19.4, GFLOPS: 300, FLOPSShare: 0.75}},
	}
	var out strings.Builder
	if err := d.print(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"NVIDIA H100, driver 550", "it computes", "read 40.0 GB/s", "10.0 GB/s", "25 %", "300 GFLOP/s", "75 %"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

// A ceiling is above zero on every path.
func TestDoctorMeasures(t *testing.T) {
	if testing.Short() {
		t.Skip("measures")
	}
	for _, p := range cpu.Paths() {
		dev, err := cpu.New(cpu.Options{Threads: 1, Path: p})
		if err != nil {
			t.Fatal(err)
		}
		if c := dev.Measure(time.Millisecond); c.Read <= 1e6 || c.Copy <= 1e6 || c.FLOPS <= 1e6 {
			t.Errorf("%s: %+v", p, c)
		}
		dev.Close()
	}
}
