package humaneval

import "golang.org/x/sys/unix"

// deniedHere are the calls of this machine alone.
var deniedHere = []uint32{unix.SYS_KEXEC_FILE_LOAD}
