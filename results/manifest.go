package results

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"runtime"
	"time"

	"github.com/evalrun/evalrun/core"
)

// ManifestFormat is the format that this package writes.
const ManifestFormat = 1

// A Manifest says what was run: enough to understand a number years later, and
// to decide whether the same command goes on with this run.
type Manifest struct {
	Format   int        `json:"format"`
	ID       string     `json:"id"`
	Created  time.Time  `json:"created"`
	Finished *time.Time `json:"finished,omitempty"`
	Tag      string     `json:"tag,omitempty"`
	// ConfigHash is over Config: equal means the same run.
	ConfigHash string  `json:"config_hash"`
	Config     Config  `json:"config"`
	Versions   Version `json:"versions"`
	Machine    Machine `json:"machine"`
	// Models are filled once the backends have been asked.
	Models map[string]Model `json:"models,omitempty"`
	// Rows of each task, once they have been read to the end.
	Rows map[string]Rows `json:"rows,omitempty"`
	// Demonstration says that embedded rows or the embedded model were used.
	Demonstration bool `json:"demonstration,omitempty"`
	// MinScore is the gate of the last part of the run (--min-score); 0 is none.
	// It changes no number, and the run goes on with another one.
	MinScore float64 `json:"min_score,omitempty"`
	// Seconds is the wall time of all parts of the run.
	Seconds float64 `json:"seconds,omitempty"`
}

// Config is the effective configuration: all that can change a number.
type Config struct {
	Tasks  []TaskConfig  `json:"tasks"`
	Models []ModelConfig `json:"models"`
	Data   string        `json:"data"`
	Limit  string        `json:"limit,omitempty"`
	Seed   uint64        `json:"seed"`
	Repeat int           `json:"repeat"`
	// Judge is the model that judged answers.
	Judge   *ModelConfig `json:"judge,omitempty"`
	Fewshot int          `json:"fewshot"`
	Set     []string     `json:"set,omitempty"`
	// Profiles in which answers are judged, the run's own first.
	Profiles []string `json:"profiles"`
}

// Profile is the run's own.
func (c *Config) Profile() core.Profile {
	if len(c.Profiles) > 0 && c.Profiles[0] == string(core.Bakeoff) {
		return core.Bakeoff
	}
	return core.Strict
}

// ShownProfile is Profile where it is not the usual one, else "".
func (c *Config) ShownProfile() core.Profile {
	if p := c.Profile(); p != core.Strict {
		return p
	}
	return ""
}

// TaskConfig is one task of a run.
type TaskConfig struct {
	Name string `json:"name"`
	Path string `json:"path"`
	// SpecSHA256 is of the task file's text.
	SpecSHA256 string `json:"spec_sha256"`
	// Data identifies the rows' files without their content: a commit, or sizes
	// and times.
	Data string `json:"data,omitempty"`
}

// ModelConfig is one column of the table.
type ModelConfig struct {
	Label    string            `json:"label"`
	Backend  string            `json:"backend"`
	Model    string            `json:"model,omitempty"`
	Adapter  string            `json:"adapter,omitempty"`
	BaseURL  string            `json:"base_url,omitempty"`
	Options  map[string]string `json:"options,omitempty"`
	Revision string            `json:"revision,omitempty"`
}

// Model is what a backend said of itself.
type Model struct {
	Backend   string            `json:"backend"`
	Version   string            `json:"version"`
	Model     string            `json:"model"`
	Revision  string            `json:"revision,omitempty"`
	Hash      string            `json:"hash,omitempty"`
	Adapters  map[string]string `json:"adapters,omitempty"`
	Device    string            `json:"device,omitempty"`
	Context   int               `json:"context_length,omitempty"`
	Notes     []string          `json:"notes,omitempty"`
	PriceIn   float64           `json:"usd_per_million_in,omitempty"`
	PriceOut  float64           `json:"usd_per_million_out,omitempty"`
	PriceKnow bool              `json:"price_known,omitempty"`
}

// Rows says which rows a task had.
type Rows struct {
	Source string `json:"source"`
	// Commit of the hub that the files belong to, where they come from there.
	Commit string `json:"commit,omitempty"`
	N      int    `json:"n"`
	// SHA256 is over the rows as core/dataset digests them.
	SHA256 string `json:"sha256,omitempty"`
}

// Version of the program and what made it.
type Version struct {
	Evalrun string `json:"evalrun"`
	Go      string `json:"go"`
}

// Machine that the run was on.
type Machine struct {
	OS    string `json:"os"`
	Arch  string `json:"arch"`
	Cores int    `json:"cores"` // that compute at once
}

// ThisMachine describes where the program runs.
func ThisMachine() Machine {
	return Machine{OS: runtime.GOOS, Arch: runtime.GOARCH, Cores: runtime.GOMAXPROCS(0)}
}

// Hash of the configuration, in hexadecimal.
func (c Config) Hash() string {
	b, err := json.Marshal(c)
	if err != nil {
		panic("BUG: config is not JSON: " + err.Error())
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// SHA256 of bytes, in hexadecimal.
func SHA256(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
