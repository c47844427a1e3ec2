package memory

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Sizes are bytes; 0 is not known.
type Sizes struct {
	Total     int64 `json:"total"`     // of the machine
	Available int64 `json:"available"` // of it, without taking from others
	// Limit is the smallest that this process's control group and those above
	// it allow, where it is below Total, and File says so. The kernel ends a
	// process of a group that takes more (memory.high: holds it up).
	Limit int64  `json:"limit"`
	File  string `json:"limit_file,omitempty"`
}

// Here looks at the machine and the groups that the process runs in.
func Here() Sizes { return Under("/") }

// Usable is what the process may take at most: the machine's memory or the
// group's limit.
func (s Sizes) Usable() int64 {
	if s.Limit > 0 {
		return s.Limit
	}
	return s.Total
}

// Under reads the files of /proc and /sys below root, which is "/" but for
// tests.
func Under(root string) Sizes {
	m := machine(root)
	s := Sizes{Total: m.kilobytes("/proc/meminfo", "MemTotal"), Available: m.kilobytes("/proc/meminfo", "MemAvailable")}
	take := func(file, value string) {
		n, err := strconv.ParseInt(value, 10, 64) // or "max"
		if err != nil || n <= 0 || n >= 1<<60 || s.Total > 0 && n >= s.Total || s.Limit > 0 && n >= s.Limit {
			return
		}
		s.Limit, s.File = n, file
	}
	for _, h := range m.hierarchies() {
		for dir := path.Join(h.mount, h.group); ; dir = path.Dir(dir) {
			for _, name := range h.limits {
				take(path.Join(dir, name), strings.TrimSpace(m.read(path.Join(dir, name))))
			}
			// The first version tells of groups that lie above the mount too.
			if name := path.Join(dir, "memory.stat"); h.statistics {
				for line := range strings.Lines(m.read(name)) {
					if value, ok := strings.CutPrefix(line, "hierarchical_memory_limit "); ok {
						take(name, strings.TrimSpace(value))
					}
				}
			}
			if len(dir) <= len(h.mount) {
				break
			}
		}
	}
	return s
}

// machine is the folder that the files lie below.
type machine string

func (m machine) read(name string) string {
	b, err := os.ReadFile(filepath.Join(string(m), filepath.FromSlash(name)))
	if err != nil {
		return ""
	}
	return string(b)
}

// kilobytes is the size that a file gives behind a name; 0 where it does not.
func (m machine) kilobytes(file, name string) int64 {
	kb := int64(0)
	for line := range strings.Lines(m.read(file)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			fmt.Sscan(value, &kb)
		}
	}
	return kb << 10
}

// hierarchy is a tree of control groups that bounds memory.
type hierarchy struct {
	mount      string // where it lies
	group      string // the process's place below that
	limits     []string
	statistics bool
}

// hierarchies gives the second version's tree and the first's, as far as they
// are mounted: mixed systems have both, of which one bounds memory.
func (m machine) hierarchies() []hierarchy {
	unified, memory := "", "" // the process's groups
	for line := range strings.Lines(m.read("/proc/self/cgroup")) {
		// number:controllers:group
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) < 3 {
			continue
		}
		if parts[0] == "0" && parts[1] == "" {
			unified = parts[2]
		} else if slices.Contains(strings.Split(parts[1], ","), "memory") {
			memory = parts[2]
		}
	}
	var out []hierarchy
	for line := range strings.Lines(m.read("/proc/self/mountinfo")) {
		// number parent device root mount options [more…] - type source options
		head, tail, _ := strings.Cut(line, " - ")
		where, what := strings.Fields(head), strings.Fields(tail)
		if len(where) < 5 || len(what) < 3 {
			continue
		}
		top, mount := unescape(where[3]), unescape(where[4])
		switch {
		case what[0] == "cgroup2" && unified != "":
			out = append(out, hierarchy{mount: mount, group: below(top, unified), limits: []string{"memory.max", "memory.high"}})
		case what[0] == "cgroup" && memory != "" && slices.Contains(strings.Split(what[2], ","), "memory"):
			out = append(out, hierarchy{mount: mount, group: below(top, memory), limits: []string{"memory.limit_in_bytes"}, statistics: true})
		}
	}
	return out
}

// below is a group's path from the group that is mounted. A container may see
// the host's path of its group where only that group is mounted, or one that
// lies outside of what it sees: the mounted group then is all there is to read.
func below(top, group string) string {
	if rest, ok := strings.CutPrefix(group, top); ok && (top == "/" || rest == "" || rest[0] == '/') && !slices.Contains(strings.Split(rest, "/"), "..") {
		return rest
	}
	return ""
}

// unescape reads \040 and the like, in which mountinfo writes blanks.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
