//go:build emulate && amd64 && check

package emulate

/*
#cgo CXXFLAGS: -DCHECK -fsanitize=thread -g
#include <stdlib.h>
void *checkAlloc(long long bytes);
void checkFree(void *p, long long bytes);
void checkTaken(unsigned long long at, long long bytes, long long size);
const char *checkHost(unsigned long long at, long long bytes, int writes);
void emulateWithout(int note, const char *place);
const char *emulatePlace(int i);
*/
import "C"

import (
	"debug/dwarf"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unsafe"
)

func allocate(bytes int64) unsafe.Pointer { return C.checkAlloc(C.longlong(bytes)) }

func release(p unsafe.Pointer, bytes int64) { C.checkFree(p, C.longlong(bytes)) }

// access tells the checker what the host does with memory.
func access(at uint64, bytes int64, writes bool) error {
	var w C.int
	if writes {
		w = 1
	}
	if why := C.checkHost(C.ulonglong(at), C.longlong(bytes), w); why != nil {
		return errors.New(C.GoString(why))
	}
	return nil
}

// Taken is told when the heap hands out a block of size bytes of which some were asked for:
// what it held is nobody's any more, and nobody may touch the others.
func (*Machine) Taken(at uint64, bytes, size int64) {
	C.checkTaken(C.ulonglong(at), C.longlong(bytes), C.longlong(size))
}

// Without, where it is not nil, has each start tried again without each barrier and each
// wait that its threads come to, until its absence has been found once. It has by their
// lines in the source what was found, or nothing.
var Without map[string]string

// without sets the one that is left out, or has them noted.
func without(note bool, place string) {
	n, c := C.int(0), C.CString(place)
	if note {
		n = 1
	}
	C.emulateWithout(n, c)
	C.free(unsafe.Pointer(c))
}

func (m *Machine) tried(start func() error) error {
	if Without == nil {
		return goneOn(start())
	}
	without(true, "")
	err := start()
	without(false, "")
	var places []string
	for i := 0; ; i++ {
		c := C.emulatePlace(C.int(i))
		if c == nil {
			break
		}
		if place := C.GoString(c); Without[place] == "" {
			places = append(places, place)
		}
	}
	if err != nil || len(places) == 0 {
		return err
	}
	memory := map[uint64][]byte{}
	for at, n := range m.held {
		memory[at] = slices.Clone(unsafe.Slice((*byte)(pointer(at)), n))
	}
	for _, place := range places {
		without(false, place)
		Without[place] = ""
		if found := start(); found != nil {
			Without[place] = found.Error()
		}
		for at, bytes := range memory {
			copy(unsafe.Slice((*byte)(pointer(at)), len(bytes)), bytes)
		}
	}
	without(false, "")
	return nil
}

// goneOn prints what a start failed of and forgets it, with EMULATE_GO_ON.
func goneOn(err error) error {
	if err != nil && os.Getenv("EMULATE_GO_ON") != "" {
		fmt.Fprintln(os.Stderr, err)
		return nil
	}
	return err
}

var code = regexp.MustCompile(`@[0-9a-f]+`)

// withLines puts lines of the source for a report's addresses of code, the innermost
// first, where the program carries them: go test keeps them with -o.
func withLines(report string) string {
	self, err := os.Executable()
	if err != nil {
		return report
	}
	file, err := elf.Open(self)
	if err != nil {
		return report
	}
	defer file.Close()
	lines, err := file.DWARF()
	if err != nil {
		return report
	}
	return code.ReplaceAllStringFunc(report, func(at string) string {
		pc, err := strconv.ParseUint(at[1:], 16, 64)
		if err != nil {
			return at
		}
		found := linesOf(lines, pc)
		if len(found) == 0 {
			return at
		}
		return strings.Join(found, " in ")
	})
}

// linesOf gives the line that an instruction is of, and the lines where the functions
// that it was inlined from are called.
func linesOf(d *dwarf.Data, pc uint64) (found []string) {
	entries := d.Reader()
	unit, err := entries.SeekPC(pc)
	if err != nil {
		return nil
	}
	table, err := d.LineReader(unit)
	if err != nil || table == nil {
		return nil
	}
	var line dwarf.LineEntry
	if table.SeekPC(pc, &line) != nil {
		return nil
	}
	name := func(file string, line int64) string { return fmt.Sprintf("%s:%d", filepath.Base(file), line) }
	files := table.Files()
	for {
		e, err := entries.Next()
		if err != nil || e == nil || e.Tag == dwarf.TagCompileUnit {
			break
		}
		if e.Tag != dwarf.TagInlinedSubroutine {
			continue
		}
		ranges, _ := d.Ranges(e)
		file, _ := e.Val(dwarf.AttrCallFile).(int64)
		at, some := e.Val(dwarf.AttrCallLine).(int64)
		if some && int(file) < len(files) && files[file] != nil && slices.ContainsFunc(ranges, func(r [2]uint64) bool { return r[0] <= pc && pc < r[1] }) {
			found = append(found, name(files[file].Name, at)) // the outermost first
		}
	}
	found = append(found, name(line.File.Name, int64(line.Line)))
	slices.Reverse(found)
	return found
}
