//go:build linux && (amd64 || arm64)

package humaneval

import (
	"encoding/binary"
	"runtime"

	"golang.org/x/sys/unix"
)

// denied are the system calls that a program gets "operation not permitted"
// from: what starts processes or looks into them, what changes mounts,
// namespaces, clocks or the kernel, what leaves something behind in the kernel
// or takes memory that no limit counts, and what has been the way out of
// containers before. Python and its libraries need none of them.
var denied = append([]uint32{
	// Processes: their start (threads are let through, below), and each other.
	unix.SYS_EXECVE, unix.SYS_EXECVEAT, unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV,
	unix.SYS_PROCESS_MADVISE, unix.SYS_PROCESS_MRELEASE, unix.SYS_PIDFD_OPEN, unix.SYS_PIDFD_GETFD,
	unix.SYS_PIDFD_SEND_SIGNAL, unix.SYS_KCMP, unix.SYS_SETPRIORITY, unix.SYS_IOPRIO_SET, unix.SYS_SCHED_SETPARAM,
	unix.SYS_SCHED_SETSCHEDULER, unix.SYS_SCHED_SETATTR, unix.SYS_SCHED_SETAFFINITY, unix.SYS_MIGRATE_PAGES,
	unix.SYS_MOVE_PAGES, unix.SYS_MBIND, unix.SYS_SET_MEMPOLICY,
	// Namespaces and mounts.
	unix.SYS_UNSHARE, unix.SYS_SETNS, unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT,
	unix.SYS_OPEN_TREE, unix.SYS_MOVE_MOUNT, unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSPICK,
	unix.SYS_MOUNT_SETATTR, unix.SYS_NAME_TO_HANDLE_AT, unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_FANOTIFY_INIT,
	// The kernel and the machine.
	unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD, unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER,
	unix.SYS_IO_URING_REGISTER, unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE,
	unix.SYS_KEXEC_LOAD, unix.SYS_REBOOT, unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_ACCT, unix.SYS_QUOTACTL,
	unix.SYS_SYSLOG, unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME, unix.SYS_CLOCK_ADJTIME, unix.SYS_ADJTIMEX,
	unix.SYS_SETHOSTNAME, unix.SYS_SETDOMAINNAME, unix.SYS_PERSONALITY, unix.SYS_VHANGUP, unix.SYS_LOOKUP_DCOOKIE,
	// What outlives a process or is not counted as its memory.
	unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_KEYCTL, unix.SYS_SHMGET, unix.SYS_SHMAT, unix.SYS_SHMCTL,
	unix.SYS_MSGGET, unix.SYS_MSGSND, unix.SYS_MSGRCV, unix.SYS_MSGCTL, unix.SYS_SEMGET, unix.SYS_SEMOP,
	unix.SYS_SEMTIMEDOP, unix.SYS_SEMCTL, unix.SYS_MQ_OPEN, unix.SYS_MQ_UNLINK, unix.SYS_MEMFD_CREATE,
	unix.SYS_MEMFD_SECRET,
}, deniedHere...)

// systemCallFilter makes the program of the kernel's packet filter machine
// that judges system calls (seccomp(2)): 8 bytes an instruction, struct
// sock_filter.
//
// Calls by another instruction set's numbers end the process. Besides denied:
// clone makes threads only, clone3, whose flags a filter cannot see, "does not
// exist", so that libraries fall back on clone; sockets are Unix sockets only;
// prlimit touches the caller only; no ioctl pushes input into a terminal.
func systemCallFilter() []byte {
	const (
		load        = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		ifEqual     = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		ifAny       = unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
		ifAtLeast   = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
		verdict     = unix.BPF_RET | unix.BPF_K
		number      = 0 // offsets in struct seccomp_data
		arch        = 4
		argument    = 16 // the first; the low half, both machines being little-endian
		next        = 8
		refuse      = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
		absent      = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
		inputIoctl  = unix.TIOCSTI
		foreignCall = 0x40000000 // amd64's x32 numbers
	)
	var code []byte
	add := func(op uint16, yes, no uint8, k uint32) {
		code = binary.LittleEndian.AppendUint16(code, op)
		code = append(code, yes, no)
		code = binary.LittleEndian.AppendUint32(code, k)
	}
	add(load, 0, 0, arch)
	add(ifEqual, 1, 0, map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64}[runtime.GOARCH])
	add(verdict, 0, 0, unix.SECCOMP_RET_KILL_PROCESS)
	add(load, 0, 0, number)
	add(ifAtLeast, 0, 1, foreignCall)
	add(verdict, 0, 0, unix.SECCOMP_RET_KILL_PROCESS)
	// when tests one argument of one call; other calls go on behind it.
	when := func(call, offset uint32, test uint16, k uint32, onTrue, onFalse uint32) {
		add(ifEqual, 0, 4, call)
		add(load, 0, 0, offset)
		add(test, 0, 1, k)
		add(verdict, 0, 0, onTrue)
		add(verdict, 0, 0, onFalse)
	}
	when(unix.SYS_CLONE, argument, ifAny, unix.CLONE_THREAD, unix.SECCOMP_RET_ALLOW, refuse)
	when(unix.SYS_SOCKET, argument, ifEqual, unix.AF_UNIX, unix.SECCOMP_RET_ALLOW, refuse)
	when(unix.SYS_SOCKETPAIR, argument, ifEqual, unix.AF_UNIX, unix.SECCOMP_RET_ALLOW, refuse)
	when(unix.SYS_PRLIMIT64, argument, ifEqual, 0, unix.SECCOMP_RET_ALLOW, refuse)
	when(unix.SYS_IOCTL, argument+next, ifEqual, inputIoctl, refuse, unix.SECCOMP_RET_ALLOW)
	add(ifEqual, 0, 1, unix.SYS_CLONE3)
	add(verdict, 0, 0, absent)
	for i, call := range denied {
		add(ifEqual, uint8(len(denied)-i), 0, call) // to the instruction behind "allow"
	}
	add(verdict, 0, 0, unix.SECCOMP_RET_ALLOW)
	add(verdict, 0, 0, refuse)
	return code
}
