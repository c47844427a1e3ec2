//go:build unix && !linux

package train

import "errors"

func mountDisk(string, int64) error { return errors.New("not on this system") }
func growDisk(string, int64) error  { return errors.New("not on this system") }
