package statedict

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"slices"

	"github.com/doob-diffusion/doob/checkpoint"
)

// kind is an element type of storages.
type kind struct {
	name  string // of the class in torch
	dtype checkpoint.DType
	size  int // bytes
}

var kinds = func() map[string]kind {
	out := map[string]kind{}
	for _, k := range []kind{
		{"FloatStorage", checkpoint.F32, 4}, {"HalfStorage", checkpoint.F16, 2}, {"BFloat16Storage", checkpoint.BF16, 2}, {"DoubleStorage", checkpoint.F64, 8},
		{"LongStorage", checkpoint.I64, 8}, {"IntStorage", checkpoint.I64, 4}, {"BoolStorage", checkpoint.I64, 1},
	} {
		out["torch "+k.name] = k
	}
	return out
}()

// storage is a row of numbers, of which tensors are views.
type storage struct {
	kind  kind
	key   string
	count int64
}

// tensor is a view of a storage: element (i, j …) lies at offset + i·strides[0] + j·strides[1] ….
type tensor struct {
	storage
	offset         int64
	shape, strides []int
}

// newTensor checks a view. Each element must lie in the storage. There must not be more elements than the storage has, so that one stride of 0 cannot
// make a file of few bytes fill the memory.
func newTensor(s storage, offset int64, shape, strides []int64) (tensor, error) {
	t := tensor{storage: s, offset: offset, shape: make([]int, len(shape)), strides: make([]int, len(shape))}
	bad := fmt.Errorf("%w: a tensor of shape %v, strides %v and offset %d is none of storage %q, which has %d numbers", ErrCorrupt, shape, strides, offset, s.key, s.count)
	if len(shape) != len(strides) || offset < 0 || offset > s.count {
		return tensor{}, bad
	}
	count, last := uint64(1), uint64(offset)
	for i := range shape {
		if shape[i] < 0 || strides[i] < 0 {
			return tensor{}, bad
		}
		t.shape[i], t.strides[i] = int(shape[i]), int(strides[i])
	}
	if slices.Contains(shape, 0) {
		return t, nil
	}
	for i := range shape {
		high, n := bits.Mul64(count, uint64(shape[i]))
		if high != 0 || n > uint64(s.count) {
			return tensor{}, bad
		}
		high, step := bits.Mul64(uint64(shape[i]-1), uint64(strides[i]))
		if high != 0 || step > uint64(s.count) {
			return tensor{}, bad
		}
		count, last = n, last+step
		if last >= uint64(s.count) {
			return tensor{}, bad
		}
	}
	if last >= uint64(s.count) {
		return tensor{}, bad
	}
	return t, nil
}

// count returns the number of elements.
func (t tensor) count() int {
	n := 1
	for _, s := range t.shape {
		n *= s
	}
	return n
}

// decode reads the elements from the bytes of the storage.
func (t tensor) decode(b []byte) checkpoint.Tensor {
	out := checkpoint.Tensor{Shape: slices.Clone(t.shape)}
	le := binary.LittleEndian
	switch t.kind.dtype {
	case checkpoint.F32:
		out.F32 = gather(t, b, func(b []byte) float32 { return math.Float32frombits(le.Uint32(b)) })
	case checkpoint.F16:
		out.F16 = gather(t, b, func(b []byte) checkpoint.Float16 { return checkpoint.Float16(le.Uint16(b)) })
	case checkpoint.BF16:
		out.BF16 = gather(t, b, func(b []byte) checkpoint.BFloat16 { return checkpoint.BFloat16(le.Uint16(b)) })
	case checkpoint.F64:
		out.F64 = gather(t, b, func(b []byte) float64 { return math.Float64frombits(le.Uint64(b)) })
	case checkpoint.I64:
		read := map[int]func(b []byte) int64{
			8: func(b []byte) int64 { return int64(le.Uint64(b)) },
			4: func(b []byte) int64 { return int64(int32(le.Uint32(b))) },
			1: func(b []byte) int64 { return int64(b[0]) },
		}[t.kind.size]
		out.I64 = gather(t, b, read)
	}
	return out
}

func gather[T any](t tensor, b []byte, value func([]byte) T) []T {
	out := make([]T, t.count())
	index := make([]int, len(t.shape))
	from := int(t.offset)
	for i := range out {
		out[i] = value(b[from*t.kind.size:])
		for axis := len(index) - 1; axis >= 0; axis-- { // the next element, row-major
			index[axis]++
			from += t.strides[axis]
			if index[axis] < t.shape[axis] {
				break
			}
			from -= index[axis] * t.strides[axis]
			index[axis] = 0
		}
	}
	return out
}
