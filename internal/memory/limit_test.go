package memory

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
)

const (
	meminfo = "MemTotal:       25165824 kB\nMemFree:  1 kB\nMemAvailable:   20971520 kB\n"
	v2      = "31 23 0:28 / /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup rw\n"
	v1      = "30 23 0:28 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n35 30 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n36 30 0:33 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n"
	endless = "9223372036854771712\n"
)

func TestLimit(t *testing.T) {
	const g = 1 << 30
	gib := func(n int) string { return strconv.Itoa(n<<30) + "\n" }
	for name, c := range map[string]struct {
		cgroup, mounts string
		files          map[string]string // below /sys/fs/cgroup
		limit          int64
		file           string // below /sys/fs/cgroup
	}{
		"nothing":   {limit: 0},
		"none set":  {"0::/a\n", v2, map[string]string{"a/memory.max": "max\n", "a/memory.high": "max\n"}, 0, ""},
		"container": {"0::/\n", v2, map[string]string{"memory.max": gib(4)}, 4 * g, "memory.max"},
		"high":      {"0::/a\n", v2, map[string]string{"a/memory.max": gib(4), "a/memory.high": gib(3)}, 3 * g, "a/memory.high"},
		"nested": {"0::/slice/unit.service/job\n", v2, map[string]string{"slice/memory.max": gib(6), "slice/unit.service/memory.max": gib(2),
			"slice/unit.service/job/memory.max": gib(5), "slice/other/memory.max": gib(1)}, 2 * g, "slice/unit.service/memory.max"},
		"above what there is": {"0::/a\n", v2, map[string]string{"a/memory.max": gib(64)}, 0, ""},
		"host's path, own group mounted": {"0::/docker/abc\n", "31 23 0:28 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n",
			map[string]string{"memory.max": gib(4), "docker/abc/memory.max": gib(1)}, 4 * g, "memory.max"},
		"host's path, subgroup": {"0::/docker/abc/x\n", "31 23 0:28 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n",
			map[string]string{"memory.max": gib(4), "x/memory.max": gib(3)}, 3 * g, "x/memory.max"},
		"another's path": {"0::/docker/abcd\n", "31 23 0:28 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n",
			map[string]string{"memory.max": gib(4), "d/memory.max": gib(1)}, 4 * g, "memory.max"},
		"outside": {"0::/../other\n", v2, map[string]string{"memory.max": gib(4), "other/memory.max": gib(1)}, 4 * g, "memory.max"},
		"escaped": {"0::/a\n", "31 23 0:28 / /sys/fs/cgroup/my\\040groups rw - cgroup2 cgroup rw\n", map[string]string{"my groups/a/memory.max": gib(4)}, 4 * g, "my groups/a/memory.max"},
		"first version": {"4:memory:/a/b\n1:cpu:/\n", v1, map[string]string{"memory/a/b/memory.limit_in_bytes": endless, "memory/a/memory.limit_in_bytes": gib(5),
			"memory/memory.limit_in_bytes": endless}, 5 * g, "memory/a/memory.limit_in_bytes"},
		"first version, above the mount": {"4:cpu,memory:/a\n", v1, map[string]string{"memory/a/memory.limit_in_bytes": endless,
			"memory/a/memory.stat": "cache 5\nhierarchical_memory_limit 3221225472\nhierarchical_memsw_limit 5\n"}, 3 * g, "memory/a/memory.stat"},
		"mixed": {"4:memory:/a\n0::/u\n", v1 + "41 30 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
			map[string]string{"unified/u/cgroup.procs": "1\n", "memory/a/memory.limit_in_bytes": gib(2)}, 2 * g, "memory/a/memory.limit_in_bytes"},
	} {
		root := t.TempDir()
		write := func(name, text string) {
			name = filepath.Join(root, filepath.FromSlash(name))
			if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, []byte(text), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		write("proc/meminfo", meminfo)
		write("proc/self/cgroup", c.cgroup)
		write("proc/self/mountinfo", c.mounts)
		for f, text := range c.files {
			write("sys/fs/cgroup/"+f, text)
		}
		want := Sizes{Total: 24 * g, Available: 20 * g, Limit: c.limit}
		usable := int64(24 * g)
		if c.limit > 0 {
			want.File, usable = "/sys/fs/cgroup/"+c.file, c.limit
		}
		if got := Under(root); got != want || got.Usable() != usable {
			t.Errorf("%s: %+v, usable %d, want %+v", name, got, got.Usable(), want)
		}
	}
	if got := Under(t.TempDir()); got != (Sizes{}) {
		t.Errorf("%+v from nothing", got)
	}
}

// A group made for the test bounds a process that is put into it.
func TestLimitOfThisSystem(t *testing.T) {
	if os.Getenv("MEMORY_TEST_GROUP") != "" {
		json.NewEncoder(os.Stdout).Encode(Here())
		return
	}
	if runtime.GOOS != "linux" {
		t.Skip("control groups are Linux's")
	}
	for _, h := range machine("/").hierarchies() {
		dir := filepath.Join(h.mount, h.group, "evalrun-test-"+strconv.Itoa(os.Getpid()))
		if err := os.Mkdir(dir, 0o755); err != nil {
			continue
		}
		defer os.Remove(dir)
		file := filepath.Join(dir, h.limits[0])
		if os.WriteFile(file, []byte("536870912"), 0o644) != nil {
			continue // this tree does not bound memory
		}
		cmd := exec.Command("sh", "-c", `echo $$ > "$1/cgroup.procs" && exec "$2" -test.run '^TestLimitOfThisSystem$'`, "sh", dir, os.Args[0])
		cmd.Env = append(os.Environ(), "MEMORY_TEST_GROUP=1")
		out, err := cmd.Output()
		if err != nil {
			t.Skipf("%s takes no process: %v", dir, err)
		}
		var got Sizes
		if err := json.NewDecoder(bytes.NewReader(out)).Decode(&got); err != nil || got.Limit != 512<<20 || got.File != file {
			t.Errorf("%+v, %v of %s", got, err, out)
		}
		return
	}
	t.Skip("no control group can be made here")
}
