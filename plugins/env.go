package plugins

import (
	"os"
	"strings"
)

// A plugin gets an environment of its own: what programs need to find their
// files and the network, and evalrun's own settings. Secrets are not among
// them; HostOptions.Env gives each plugin its own.

var (
	envNames = []string{
		"PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "TMP", "TEMP", "TZ", "LANG", "LANGUAGE",
		"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY",
		"LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "NO_COLOR",
		"GOMAXPROCS", "GOMEMLIMIT", "GOGC", "GODEBUG", "GOTRACEBACK", "GOCOVERDIR",
		"SYSTEMROOT", "WINDIR", "COMSPEC", "PATHEXT", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "PROGRAMDATA",
	}
	envPrefixes = []string{"EVALRUN_", "HF_", "XDG_", "LC_", "SSL_CERT", "CUDA_", "NVIDIA_"}
	// A name that ends so is a secret, whatever it begins with. The Hugging
	// Face switch named here is none.
	secretSuffixes = []string{"TOKEN", "KEY", "SECRET", "PASSWORD", "PASSWD", "CREDENTIALS"}
	noSecret       = "HF_HUB_DISABLE_IMPLICIT_TOKEN"
)

// passes tells whether a variable of the host may be seen by every plugin.
func passes(name string) bool {
	upper := strings.ToUpper(name)
	switch upper {
	case envCookie, envLifeline, envLog:
		return false
	case noSecret:
		return true
	}
	for _, s := range secretSuffixes {
		if strings.HasSuffix(upper, s) {
			return false
		}
	}
	for _, n := range envNames {
		if upper == n {
			return true
		}
	}
	for _, p := range envPrefixes {
		if strings.HasPrefix(upper, p) {
			return true
		}
	}
	return false
}

// commonEnv is the part of this process's environment that passes.
func commonEnv() []string {
	var out []string
	for _, entry := range os.Environ() {
		if name, _, ok := strings.Cut(entry, "="); ok && passes(name) {
			out = append(out, entry)
		}
	}
	return out
}
