//go:build cuda

package cuda

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"
)

// Holds the GPU's memory but EVALRUN_HOLD_LEAVE MiB and room for the context of
// one program more, while the file EVALRUN_HOLD_WHILE is there: for faults.sh, the
// other program on a GPU that nobody else uses.
func TestHoldMemory(t *testing.T) {
	file := os.Getenv("EVALRUN_HOLD_WHILE")
	leave, err := strconv.ParseInt(os.Getenv("EVALRUN_HOLD_LEAVE"), 10, 64)
	if file == "" || err != nil {
		t.Skip("a helper of faults.sh")
	}
	d, err := Open(0, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	free, total := d.Memory()
	leave, held := leave<<20+total-free, int64(0)
	for size := int64(1 << 30); size >= 1<<20; size /= 2 {
		for free, _ := d.Memory(); free-size >= leave; free, _ = d.Memory() {
			if _, err := d.driver.Alloc(size); err != nil {
				break
			}
			held += size
		}
	}
	free, total = d.Memory()
	fmt.Printf("holding %d MiB, %d of %d are free\n", held>>20, free>>20, total>>20)
	for began := time.Now(); time.Since(began) < 2*time.Minute; time.Sleep(50 * time.Millisecond) {
		if _, err := os.Stat(file); err != nil {
			return
		}
	}
}
