package humaneval

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// inside is the user and group that a program runs as in its namespace, where
// there is more than one to choose from.
const inside = 1000

// isolations lists ways to start a worker, the best first.
func isolations() []isolation {
	all := uintptr(syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET |
		syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS | syscall.CLONE_NEWCGROUP)
	filter := systemCallFilter()
	var ways []isolation
	if outside, ok := stranger(); ok {
		ways = append(ways, isolation{confinement{Identity: inside, PivotRoot: unix.SYS_PIVOT_ROOT, Filter: filter}, true,
			func(c *exec.Cmd) { namespaces(c, all, outside) }})
	}
	return append(ways,
		isolation{confinement{PivotRoot: unix.SYS_PIVOT_ROOT, Filter: filter}, true, func(c *exec.Cmd) { namespaces(c, all, 0) }},
		isolation{confinement{Filter: filter}, false, func(c *exec.Cmd) { namespaces(c, syscall.CLONE_NEWUSER|syscall.CLONE_NEWNET, 0) }},
		isolation{confinement{Filter: filter}, false, func(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }})
}

// stranger gives the root user, who may hand out identities, one that owns
// nothing on this machine; the highest of a small map of identities is nobody.
func stranger() (int, bool) {
	if os.Geteuid() != 0 {
		return 0, false
	}
	const unused, nobody = 1 << 30, 65534
	found := 0
	for _, file := range []string{"/proc/self/uid_map", "/proc/self/gid_map"} {
		text, err := os.ReadFile(file)
		if err != nil {
			return 0, false
		}
		for _, id := range []int{unused, nobody} {
			if mapped(string(text), id) && (found == 0 || found >= id) {
				found = id
				break
			}
		}
	}
	return found, found != 0
}

// mapped tells whether a map of identities (user_namespaces(7)) has one.
func mapped(table string, id int) bool {
	for line := range strings.Lines(table) {
		var first, parent, length int
		if n, _ := fmt.Sscan(line, &first, &parent, &length); n == 3 && id >= first && id < first+length {
			return true
		}
	}
	return false
}

// namespaces starts the worker as the root of a new user namespace, which is
// what allows an ordinary user the other namespaces. Its identity is the
// caller's; with another one, if that is not 0, to change to.
func namespaces(c *exec.Cmd, flags uintptr, another int) {
	users := []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
	groups := []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	if another != 0 {
		users = append(users, syscall.SysProcIDMap{ContainerID: inside, HostID: another, Size: 1})
		groups = append(groups, syscall.SysProcIDMap{ContainerID: inside, HostID: another, Size: 1})
	}
	c.SysProcAttr = &syscall.SysProcAttr{
		Setpgid: true, Cloneflags: flags, UidMappings: users, GidMappings: groups, GidMappingsEnableSetgroups: another != 0}
}

// killTree ends the worker and what it started.
func killTree(c *exec.Cmd) {
	if c.Process != nil {
		_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
		_ = c.Process.Kill()
	}
}
