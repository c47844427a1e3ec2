//go:build emulate && amd64 && !check

package emulate

/*
#include <stdlib.h>
*/
import "C"

import "unsafe"

// allocate gives memory as a GPU does, at a multiple of 256 bytes.
func allocate(bytes int64) unsafe.Pointer { return C.aligned_alloc(256, C.size_t(bytes+255)/256*256) }

func release(p unsafe.Pointer, _ int64)                { C.free(p) }
func access(at uint64, bytes int64, writes bool) error { return nil }
func withLines(report string) string                   { return report }

func (*Machine) tried(start func() error) error { return start() }
