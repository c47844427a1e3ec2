package humaneval

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
)

// The layers around a program, by the names that workers give them; a worker
// names what held. docs/design/isolation.md says what each keeps off.
const (
	OwnProcesses = "own processes"
	OwnFiles     = "own files"
	NoNetwork    = "no network"
	NoPrivileges = "no privileges"
	Filter       = "filtered system calls"
	Limits       = "limits"
)

// Minimum is what must hold before a model's code is run without its user
// saying that he wants it all the same.
var Minimum = []string{OwnProcesses, OwnFiles, NoNetwork, NoPrivileges, Limits}

// About is what a Runner's workers are.
type About struct {
	// Python is its version.
	Python string
	// Layers are those that hold.
	Layers []string
}

// String says it for a reader of scores.
func (a About) String() string {
	return fmt.Sprintf("programs ran in Python %s with: %s", a.Python, strings.Join(a.Layers, ", "))
}

// Missing lists the layers of Minimum that do not hold.
func (a About) Missing() []string {
	return slices.DeleteFunc(slices.Clone(Minimum), func(layer string) bool { return slices.Contains(a.Layers, layer) })
}

// WeakError says that a machine gives less isolation than Minimum.
type WeakError struct{ Missing []string }

// Error names what is missing and what to do.
func (e *WeakError) Error() string {
	return "model code is not run here without: " + strings.Join(e.Missing, ", ") + " (--unsafe-code runs it all the same)"
}

// An isolation is a way to start a worker.
type isolation struct {
	confinement
	// ownFiles says that the worker makes itself a root folder that no one else
	// sees; without it, it gets a folder that is removed when it ends.
	ownFiles bool
	// apply sets what the command needs for it.
	apply func(*exec.Cmd)
}

// A confinement is what the worker is told to do to itself; see confine.py.
type confinement struct {
	Folder    string `json:"folder"`
	Identity  int    `json:"identity"`
	Root      bool   `json:"root"`
	PivotRoot int    `json:"pivot_root"`
	Filter    []byte `json:"filter"`
}
