package cpu

import (
	"fmt"
	"math/bits"
	"reflect"
	"sync"
	"unsafe"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/shapes"

	"github.com/doob-diffusion/doob/cpu/internal/exec"
	"github.com/doob-diffusion/doob/cpu/internal/kern"
)

var _ compute.Buffer = (*buffer)(nil)

// buffer is a tensor in memory.
type buffer struct {
	backend *Backend
	shape   shapes.Shape
	flat    any       // a slice of the element type; nil after Finalize
	memory  []float32 // what flat is a part of
	donated bool      // see shared
}

// newBuffer returns a buffer with undefined contents.
func (b *Backend) newBuffer(shape shapes.Shape) *buffer {
	size := shape.ByteSize()
	x := &buffer{backend: b, shape: shape.Clone()}
	x.memory = b.memory.get(int(size+3) / 4)
	x.flat = exec.View(x.memory, shape.DType, shape.Dimensions...)
	return x
}

// Backend returns the backend that made the buffer.
func (x *buffer) Backend() compute.Backend { return x.backend }

// Finalize gives the memory back. Doing so twice, or after the buffer was donated, does nothing.
func (x *buffer) Finalize() error {
	if x.flat != nil {
		x.backend.memory.put(x.memory)
		x.flat, x.memory = nil, nil
	}
	return nil
}

// Shape returns the buffer's shape.
func (x *buffer) Shape() (shapes.Shape, error) { return x.shape, nil }

// DeviceNum returns 0.
func (x *buffer) DeviceNum() (compute.DeviceNum, error) { return 0, nil }

// Data returns the memory itself.
func (x *buffer) Data() (any, error) {
	if x.flat == nil {
		return nil, fmt.Errorf("cpu: buffer %s was finalized or donated", x.shape)
	}
	return x.flat, nil
}

// ToFlatData copies the elements to a flat slice.
func (x *buffer) ToFlatData(flat any) error {
	if x.flat == nil {
		return fmt.Errorf("cpu: buffer %s was finalized or donated", x.shape)
	}
	return copyFlat(flat, x.flat)
}

// CopyToDevice returns a copy.
func (x *buffer) CopyToDevice(device compute.DeviceNum) (compute.Buffer, error) {
	if x.flat == nil {
		return nil, fmt.Errorf("cpu: buffer %s was finalized or donated", x.shape)
	}
	return x.backend.BufferFromFlatData(device, x.flat, x.shape)
}

// copyFlat copies between flat slices of one type and length.
func copyFlat(dst, src any) error {
	if d, ok := dst.([]float32); ok {
		if s, ok := src.([]float32); ok && len(s) == len(d) {
			copy(d, s)
			return nil
		}
	}
	d, s := reflect.ValueOf(dst), reflect.ValueOf(src)
	if d.Kind() != reflect.Slice || s.Kind() != reflect.Slice || d.Type() != s.Type() || d.Len() != s.Len() {
		return fmt.Errorf("cpu: copy of %T with %d elements to %T with %d", src, length(s), dst, length(d))
	}
	reflect.Copy(d, s)
	return nil
}

func length(v reflect.Value) int {
	if v.Kind() != reflect.Slice {
		return 0
	}
	return v.Len()
}

// recycler keeps freed memory for the next buffer of its size class. The garbage collector may take it.
type recycler struct {
	pools [64 * (4 + 16)]sync.Pool
}

// class returns a size class and its size: four classes per power of two, and sixteen for large ones, of which models consist: what a class is too large
// for them is memory lost.
func class(n int) (int, int) {
	const large = 1 << 16 // floats
	switch {
	case n <= 16:
		return 0, 16
	case n <= large:
		shift := bits.Len(uint(n-1)) - 3
		return 1 + shift*4 + (n-1)>>shift - 4, ((n-1)>>shift + 1) << shift
	}
	shift := bits.Len(uint(n-1)) - 5
	return 64*4 + shift*16 + (n-1)>>shift - 16, ((n-1)>>shift + 1) << shift
}

func (r *recycler) get(n int) []float32 {
	k, size := class(n)
	if p, _ := r.pools[k].Get().(*float32); p != nil {
		return unsafe.Slice(p, size)
	}
	return kern.Aligned(size)
}

func (r *recycler) put(memory []float32) {
	if len(memory) > 0 {
		k, _ := class(len(memory))
		r.pools[k].Put(unsafe.SliceData(memory))
	}
}
