//go:build linux && (amd64 || arm64)

package humaneval

import (
	"encoding/base64"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
)

// The filter refuses each call of its list, and lets through what Python needs.
func TestFilter(t *testing.T) {
	mustFind(t)
	calls, _ := json.Marshal(denied)
	cmd := exec.Command("python3", "testdata/filter.py", base64.StdEncoding.EncodeToString(systemCallFilter()), string(calls))
	out, err := cmd.CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "fine" {
		t.Errorf("%v: %s", err, out)
	}
}
