// Package checkpoint reads and writes tensors in the safetensors format.
//
// A file is
//
//	uint64 n, little endian │ n bytes of JSON, padded with spaces │ tensor data, little endian, row major
//
// and the JSON maps every name to its dtype, shape and byte range in the data; "__metadata__" maps strings to strings.
// Format: https://github.com/huggingface/safetensors#format. Files written here open in Python's safetensors, and its
// files open here as long as their dtypes are F32, F64 or I64.
package checkpoint

import (
	"errors"
	"fmt"
	"math/bits"
)

var (
	// ErrCorrupt reports that a file is not a whole, well-formed safetensors file.
	ErrCorrupt = errors.New("corrupt safetensors file")
	// ErrDType reports a file that may be sound but holds a dtype other than F32, F64 and I64.
	ErrDType = errors.New("unsupported dtype")
)

// Tensor is a row-major array. Exactly one of the slices is set, and its length is the product of Shape; that slice
// gives the dtype. A tensor without elements may leave all three nil, which makes it F32. The empty Shape is a scalar.
type Tensor struct {
	Shape []int
	F32   []float32
	F64   []float64
	I64   []int64
}

// File is everything a safetensors file holds. The zero File is valid and empty.
type File struct {
	Tensors  map[string]Tensor
	Metadata map[string]string
}

const (
	metadataKey = "__metadata__"
	// maxHeader is the reference implementation's limit: a longer header could not be read back by it.
	maxHeader = 100_000_000
)

// dtype is the name of an element type in the header.
type dtype string

const (
	f32 dtype = "F32"
	f64 dtype = "F64"
	i64 dtype = "I64"
)

// size returns bytes per element, or 0 for a dtype this package does not handle.
func (d dtype) size() int {
	switch d {
	case f32:
		return 4
	case f64, i64:
		return 8
	}
	return 0
}

// layout returns the dtype and number of elements of t, after checking that t is consistent.
func (t Tensor) layout() (dtype, int, error) {
	d, n, set := f32, len(t.F32), 0
	if t.F32 != nil {
		set++
	}
	if t.F64 != nil {
		d, n, set = f64, len(t.F64), set+1
	}
	if t.I64 != nil {
		d, n, set = i64, len(t.I64), set+1
	}
	if set > 1 {
		return "", 0, errors.New("got more than one of F32, F64 and I64, expected one")
	}
	want, ok := elements(t.Shape)
	if !ok || want != n {
		return "", 0, fmt.Errorf("got %d elements of %s, expected the product of shape %v", n, d, t.Shape)
	}
	return d, n, nil
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
