package cli

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/evalrun/evalrun/kernels/kernelbench"
)

func TestBenchKernels(t *testing.T) {
	o := kernelbench.Options{Width: 256, Rows: 2, Context: 32, Budget: time.Microsecond}
	var out bytes.Buffer
	if err := benchKernels(&out, "cpu", 1, o, true); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Device  string
		Ceiling kernelbench.Ceiling
		Figures []kernelbench.Figure
	}
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || !strings.HasPrefix(got.Device, "cpu (") || got.Ceiling.Read <= 0 || len(got.Figures) < 30 {
		t.Errorf("%v: device %q, ceiling %+v, %d figures", err, got.Device, got.Ceiling, len(got.Figures))
	}
	out.Reset()
	if err := benchKernels(&out, "ref", 0, o, false); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(out.String(), "\n"); lines != len(got.Figures)+3 || !strings.Contains(out.String(), "MatMul NF4 ") {
		t.Errorf("%d lines of %d figures:\n%s", lines, len(got.Figures), out.String())
	}
	if err := benchKernels(&out, "gpu9", 0, o, false); err == nil {
		t.Error("an unknown device was taken")
	}
	o.Width = 100
	err := benchKernels(&out, "ref", 0, o, false)
	if err == nil || strings.Count(err.Error(), "width 100 is no multiple of 256") != 1 || !strings.Contains(hintOf(err), "--width") {
		t.Errorf("a width of 100: %v, %q", err, hintOf(err))
	}
}
