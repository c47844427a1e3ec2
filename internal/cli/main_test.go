package cli

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets the test binary be evalrun, for the sessions of testdata and
// for the plugin processes that an evalrun starts: those are this binary again.
func TestMain(m *testing.M) {
	if len(os.Args) == 5 && os.Args[1] == "plugin" && os.Args[2] == "serve" {
		os.Exit(Main(os.Args[1:]))
	}
	if os.Getenv("EVALRUN_TEST_MAIN") != "" {
		os.Exit(Main(os.Args[1:]))
	}
	testscript.Main(m, map[string]func(){"evalrun": func() { os.Exit(Main(os.Args[1:])) }})
}

func TestSessions(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/sessions",
		Setup: func(e *testscript.Env) error {
			e.Setenv("EVALRUN_CACHE", e.WorkDir+"/.cache")
			e.Setenv("HF_HUB_OFFLINE", "1")
			e.Setenv("HF_HOME", e.WorkDir+"/.hf")
			return nil
		},
	})
}
