package humaneval

import (
	"os"
	"os/exec"
	"syscall"
)

// isolations lists ways to start a worker, the best first.
func isolations() []isolation {
	all := uintptr(syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET |
		syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS)
	return []isolation{
		{ownFiles: true, apply: func(c *exec.Cmd) { namespaces(c, all) }},
		{apply: func(c *exec.Cmd) { namespaces(c, syscall.CLONE_NEWUSER|syscall.CLONE_NEWNET) }},
		{apply: func(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }},
	}
}

// namespaces starts the worker as the only user of a new user namespace, which
// is what allows an ordinary user the other namespaces.
func namespaces(c *exec.Cmd, flags uintptr) {
	c.SysProcAttr = &syscall.SysProcAttr{
		Setpgid:     true,
		Cloneflags:  flags,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
}

// killTree ends the worker and what it started.
func killTree(c *exec.Cmd) {
	if c.Process != nil {
		_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
		_ = c.Process.Kill()
	}
}
