package engine

import (
	"runtime"
	"slices"

	"github.com/evalrun/evalrun/kernels"
)

// An adapter lies on the disk, in the host's memory, on the device. The run loop
// alone moves it: goroutines read and check files, the device copies beside its
// work, and a sequence is admitted before the next batch once its adapter is there.

// readers is the number of adapters that are read at a time.
const readers = 4

// arrival is an adapter that was read, or was not.
type arrival struct {
	adapter *adapter
	image   *image
	err     error
}

// count tells for each adapter how many sequences wait and run. One that is wanted
// leaves the device after all that are not, the eldest's last.
func (e *Engine) count() {
	for _, a := range e.inOrder {
		a.waiting, a.running = 0, 0
	}
	for _, q := range slices.Backward(e.waiting) {
		if a := q.job.adapter; a != nil {
			a.waiting++
			e.onDevice.Use(a)
		}
	}
	for _, q := range e.running {
		if a := q.job.adapter; a != nil {
			a.running++
			e.onDevice.Use(a)
		}
	}
}

// arriving tells whether the adapter is being copied to the device.
func (a *adapter) arriving() bool { return a.copy != nil && a.parts == nil }

// What has running sequences or is on its way does not leave the device; what is
// read or copied, or is wanted on the device, does not leave the host's memory.
func (a *adapter) busyDevice() bool { return a.running > 0 || a.arriving() }
func (a *adapter) busyHost() bool {
	return a.reading || a.waiting > 0 && a.parts == nil || a.copy != nil && !a.copy.Done()
}

// fetch begins to read what waiting sequences want, the eldest's first, while there
// are readers and room. What finds no room is not overtaken.
func (e *Engine) fetch() {
	for _, q := range e.waiting {
		a := q.job.adapter
		if a == nil || a.parts != nil || a.host != nil || a.reading {
			continue
		}
		if e.reading == readers {
			return
		}
		leave, ok := e.onHost.Room(a.bytes, (*adapter).busyHost)
		if !ok {
			return
		}
		for _, x := range leave {
			e.leaveHost(x)
		}
		e.onHost.Add(a, a.bytes)
		a.reading = true
		e.reading++
		e.readers.Add(1)
		go func() {
			defer e.readers.Done()
			im, err := e.readAdapter(a)
			e.mu.Lock()
			defer e.mu.Unlock()
			e.arrivals = append(e.arrivals, arrival{a, im, err})
			e.wake.Signal()
		}()
	}
}

// readAdapter brings an adapter into the host's memory. It runs beside the loop.
func (e *Engine) readAdapter(a *adapter) (*image, error) {
	file, err := e.opts.read(a.path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	im := &image{}
	if im.hash, err = file.Hash(); err == nil {
		err = e.identify(a, im.hash)
	}
	if err != nil {
		return nil, err
	}
	if im.shape, err = e.model.Image(file); err != nil {
		return nil, err
	}
	if im.shape.Bytes != a.bytes {
		return nil, errChanged
	}
	if e.stager != nil {
		im.mem = e.stager.Pin(a.bytes)
	} else {
		im.mem = make([]byte, a.bytes)
	}
	if err := im.shape.Fill(im.mem); err != nil {
		e.unpin(im)
		return nil, err
	}
	return im, nil
}

// arrive takes in what was read.
func (e *Engine) arrive(r arrival) {
	r.adapter.reading = false
	e.reading--
	if r.err != nil {
		e.onHost.Remove(r.adapter)
		e.refuse(r.adapter, r.adapter.failed(r.err))
		return
	}
	r.adapter.host = r.image
	e.adapterStats.Read++
}

// refuse ends those that wait for an adapter. Whoever asks next tries again.
func (e *Engine) refuse(a *adapter, err error) {
	for _, q := range slices.Clone(e.waiting) {
		if q.job.adapter == a {
			e.end(q.job, Event{Err: err})
		}
	}
}

// settle lets adapters be used whose copies are over. While batches run they go on
// beside a copy; where none does, the device itself waits for it.
func (e *Engine) settle() {
	for _, a := range e.inOrder {
		if a.arriving() && (len(e.running) == 0 || a.copy.Done()) {
			if err := e.place(a); err != nil {
				e.refuse(a, err)
			}
		}
	}
}

func (e *Engine) place(a *adapter) (err error) {
	a.copy.Join()
	if a.parts, err = e.model.Place(a.host.shape, a.host.mem, a.copy); err != nil {
		e.leaveDevice(a)
		return a.failed(err)
	}
	if a.content = a.host.hash; e.stager == nil { // the device has the host's memory
		e.leaveHost(a)
	}
	return nil
}

// bring tells whether an adapter is on the device. It begins to copy one that was
// read, if there is room.
func (e *Engine) bring(a *adapter) (there bool, err error) {
	if a.parts != nil || a.host == nil || a.copy != nil {
		return a.parts != nil, nil
	}
	leave, ok := e.onDevice.Room(a.size, (*adapter).busyDevice)
	if !ok {
		return false, nil
	}
	for _, x := range leave {
		e.leaveDevice(x)
	}
	copy, err := kernels.Stage(e.dev, a.host.mem)
	if err != nil {
		return false, &AdapterError{a.path, err, "lower adapter_mb, so that adapters leave the device sooner"}
	}
	a.copy = copy
	e.onDevice.Add(a, a.size)
	e.onHost.Use(a)
	e.adapterStats.Copied++
	e.adapterStats.Bytes += a.bytes
	if len(e.running) == 0 || copy.Done() {
		err = e.place(a)
	}
	return err == nil && a.parts != nil, err
}

func (e *Engine) leaveDevice(a *adapter) {
	if a.running > 0 {
		panic("BUG: an adapter in use leaves the device: " + a.path)
	}
	a.copy.Drop()
	a.copy, a.parts = nil, nil
	e.onDevice.Remove(a)
}

func (e *Engine) leaveHost(a *adapter) {
	e.unpin(a.host)
	a.host = nil
	e.onHost.Remove(a)
}

// unpin gives an image's memory back. Where it is not pinned, parts may be read in
// it as long as they are used, and it goes back by itself.
func (e *Engine) unpin(im *image) {
	if e.stager != nil && im != nil {
		e.stager.Unpin(im.mem)
	}
}

// freeAdapters gives all memory of adapters back, once nobody reads any more.
func (e *Engine) freeAdapters() {
	e.readers.Wait()
	for _, r := range e.arrivals {
		e.unpin(r.image)
	}
	for _, a := range e.inOrder {
		if a.copy != nil {
			for !a.copy.Done() {
				runtime.Gosched()
			}
			a.copy.Drop()
		}
		e.unpin(a.host)
	}
}
