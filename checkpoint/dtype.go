package checkpoint

import (
	"errors"
	"fmt"
	"math/bits"
)

// DType is the name of an element type, as the header of a file has it.
type DType string

const (
	F16  DType = "F16"
	BF16 DType = "BF16"
	F32  DType = "F32"
	F64  DType = "F64"
	I64  DType = "I64"
)

// size returns bytes per element, or 0 for a dtype this package does not handle.
func (d DType) size() int {
	switch d {
	case F16, BF16:
		return 2
	case F32:
		return 4
	case F64, I64:
		return 8
	}
	return 0
}

// rank is the place of tensors of a dtype in a file. It is the reference implementation's order, by falling alignment,
// which keeps every element aligned for readers that map the file.
func (d DType) rank() int {
	return map[DType]int{I64: 0, F64: 1, F32: 2, BF16: 3, F16: 4}[d]
}

// layout returns the dtype and number of elements of t, after checking that t is consistent.
func (t Tensor) layout() (DType, int, error) {
	n, set := 0, 0
	for _, s := range []struct {
		set bool
		len int
	}{
		{t.F16 != nil, len(t.F16)}, {t.BF16 != nil, len(t.BF16)},
		{t.F32 != nil, len(t.F32)}, {t.F64 != nil, len(t.F64)}, {t.I64 != nil, len(t.I64)},
	} {
		if s.set {
			n, set = s.len, set+1
		}
	}
	if set > 1 {
		return "", 0, errors.New("got more than one of F16, BF16, F32, F64 and I64, expected one")
	}
	want, ok := elements(t.Shape)
	if !ok || want != n {
		return "", 0, fmt.Errorf("got %d elements of %s, expected the product of shape %v", n, t.DType(), t.Shape)
	}
	return t.DType(), n, nil
}

// elements returns the product of shape, and false when a dimension is negative or the product overflows.
func elements(shape []int) (int, bool) {
	n := uint64(1)
	for _, s := range shape {
		if s < 0 {
			return 0, false
		}
		hi, lo := bits.Mul64(n, uint64(s))
		if hi != 0 || lo > 1<<62 {
			return 0, false
		}
		n = lo
	}
	return int(n), true
}
