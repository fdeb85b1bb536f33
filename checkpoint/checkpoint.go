// Package checkpoint reads and writes tensors in the safetensors format.
//
// A file is
//
//	uint64 n, little endian │ n bytes of JSON, padded with spaces │ tensor data, little endian, row major
//
// and the JSON maps every name to its dtype, shape and byte range in the data; "__metadata__" maps strings to strings.
// Format: https://github.com/huggingface/safetensors#format. Files written here open in Python's safetensors, and its
// files open here as long as their dtypes are F16, BF16, F32, F64 or I64.
//
// [Load] and [Save] hold all of a file in memory. [Open] and [OpenModel] read one tensor at a time, the latter also from
// a model in several files. [Rewrite] writes what a [Source] has, one tensor at a time.
package checkpoint

import (
	"errors"
	"fmt"
)

var (
	// ErrCorrupt reports that a file is not a whole, well-formed safetensors file, or an index not that of the files
	// beside it.
	ErrCorrupt = errors.New("corrupt safetensors file")
	// ErrDType reports a dtype that is not handled: of a file that may be sound, one other than F16, BF16, F32, F64 and
	// I64; of a tensor whose real values are asked for, I64.
	ErrDType = errors.New("unsupported dtype")
)

// Tensor is a row-major array. Exactly one of the slices is set, and its length is the product of Shape; that slice
// gives the dtype. A tensor without elements may leave all of them nil, which makes it F32. The empty Shape is a scalar.
type Tensor struct {
	Shape []int
	F16   []Float16
	BF16  []BFloat16
	F32   []float32
	F64   []float64
	I64   []int64
}

// File is everything a safetensors file holds. The zero File is valid and empty.
type File struct {
	Tensors  map[string]Tensor
	Metadata map[string]string
}

// DType returns the dtype of the slice that is set, F32 if none is.
func (t Tensor) DType() DType {
	switch {
	case t.F16 != nil:
		return F16
	case t.BF16 != nil:
		return BF16
	case t.F64 != nil:
		return F64
	case t.I64 != nil:
		return I64
	}
	return F32
}

// Size returns the number of elements.
func (t Tensor) Size() int { return len(t.F16) + len(t.BF16) + len(t.F32) + len(t.F64) + len(t.I64) }

// Float32s returns the elements as float32, row-major. F16 and BF16 convert exactly, F64 is rounded to nearest even, and
// F32 is the tensor's own slice, not a copy. I64 gives ErrDType.
func (t Tensor) Float32s() ([]float32, error) {
	switch t.DType() {
	case F16:
		return convert(t.F16, Float16.Float32), nil
	case BF16:
		return convert(t.BF16, BFloat16.Float32), nil
	case F64:
		return convert(t.F64, func(v float64) float32 { return float32(v) }), nil
	case I64:
		return nil, fmt.Errorf("%w: got I64, expected F16, BF16, F32 or F64", ErrDType)
	}
	return t.F32, nil
}

func convert[T any](from []T, value func(T) float32) []float32 {
	to := make([]float32, len(from))
	for i, v := range from {
		to[i] = value(v)
	}
	return to
}
