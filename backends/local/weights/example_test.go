package weights_test

import (
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/evalrun/evalrun/backends/local/weights"
)

func ExampleOpen() {
	dir, err := os.MkdirTemp("", "weights")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	w := weights.Float32s("model.norm.weight", []float32{1, 0.5}, 2)
	if err := weights.WriteSafetensors(filepath.Join(dir, "model.safetensors"), []weights.Tensor{w}, nil); err != nil {
		log.Fatal(err)
	}

	f, err := weights.Open(dir)
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	for _, name := range f.Names() {
		t, err := f.Tensor(name)
		if err != nil {
			log.Fatal(err)
		}
		values, err := t.Floats()
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(t.Name, t.Stored, t.Shape, values)
	}
	// Output: model.norm.weight F32 [2] [1 0.5]
}
