package cli

import (
	"bytes"
	"testing"

	"github.com/evalrun/evalrun/core/dataset/hub"
)

// A download tells its beginning, its end, and now and then something between;
// never a line a block.
func TestDownloads(t *testing.T) {
	var b bytes.Buffer
	d := &downloads{out: &b}
	for done := int64(0); done <= 3e6; done += 1e5 {
		d.show(hub.Progress{Repo: "nyu-mll/glue", Path: "sst2/validation.parquet", Done: done, Total: 3e6})
	}
	d.show(hub.Progress{Repo: "nyu-mll/glue", Path: "README.md", Done: 1200})
	d.show(hub.Progress{Note: "no network: the cached revision is used"})
	want := "fetching nyu-mll/glue/sst2/validation.parquet: 0.0 kB of 3.0 MB\n" +
		"fetching nyu-mll/glue/sst2/validation.parquet: 3.0 MB of 3.0 MB\n" +
		"fetching nyu-mll/glue/README.md: 1.2 kB\n" +
		"no network: the cached revision is used\n"
	if b.String() != want {
		t.Errorf("got\n%s", b.String())
	}
}
