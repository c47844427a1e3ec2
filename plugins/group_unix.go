//go:build unix

package plugins

import (
	"os/exec"
	"syscall"
)

// ownGroup starts the process in a group of its own: an interrupt from the
// terminal is then the host's to handle, and ending the group ends what the
// plugin started too.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
}

// killGroup ends the group that pid leads.
func killGroup(pid int) { _ = syscall.Kill(-pid, syscall.SIGKILL) }

// endGroup ends this process's group if this process leads it.
func endGroup() {
	if pid := syscall.Getpid(); syscall.Getpgrp() == pid {
		killGroup(pid)
	}
}
