package train

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/evalrun/evalrun/backends/local/weights"
)

// A sealed file is a safetensors file whose metadata hold a text and the
// SHA-256 of text and tensors: a disk that lies is found out before anything is
// trained further on its bytes.
const (
	sealText    = "state"
	sealSum     = "sha256"
	sealVersion = "version"
)

func writeSealed(path, text string, tensors []weights.Tensor) error {
	return weights.WriteSafetensors(path, tensors, map[string]string{sealVersion: checkpointVersion, sealText: text, sealSum: seal(text, tensors)})
}

// openSealed opens a file and checks version and sum. Errors of the system are
// given as they are.
func openSealed(path string) (*weights.File, string, error) {
	f, err := weights.Open(path)
	if err != nil {
		var system *fs.PathError
		if errors.As(err, &system) {
			return nil, "", err
		}
		return nil, "", fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	refuse := func(why error) (*weights.File, string, error) {
		return nil, "", errors.Join(fmt.Errorf("%s: %w", path, why), f.Close())
	}
	meta := f.Metadata()
	if v := meta[sealVersion]; v != checkpointVersion {
		return refuse(fmt.Errorf("%w: version %q, and this one reads %s", ErrOtherVersion, v, checkpointVersion))
	}
	var all []weights.Tensor
	for _, name := range f.Names() {
		t, err := f.Tensor(name)
		if err != nil {
			return refuse(fmt.Errorf("%w: %w", ErrDamaged, err))
		}
		all = append(all, t)
	}
	if seal(meta[sealText], all) != meta[sealSum] {
		return refuse(fmt.Errorf("%w: its sum is not that of its bytes", ErrDamaged))
	}
	return f, meta[sealText], nil
}

// seal is the SHA-256 of a text and of tensors, whatever their order.
func seal(text string, tensors []weights.Tensor) string {
	tensors = slices.Clone(tensors)
	slices.SortFunc(tensors, func(a, b weights.Tensor) int { return strings.Compare(a.Name, b.Name) })
	h := sha256.New()
	fmt.Fprintf(h, "%d %s", len(text), text)
	for _, t := range tensors {
		fmt.Fprintf(h, "%q %s %v %d ", t.Name, t.Stored, t.Shape, len(t.Data))
		h.Write(t.Data)
	}
	return hex.EncodeToString(h.Sum(nil))
}
