package engine

import (
	"fmt"

	"github.com/gomlx/compute/dtypes"
)

// Precision is how numbers that are not trained are held: float32, or 16 bits. What is trained, activations and losses are
// float32, weights of paths float64. Backend cpu widens 16 bits exactly where it reads them, so that a model gives the same
// bits as its widened copy, in half the memory.
type Precision string

const (
	OfFile Precision = ""     // numbers of 16 bits stay as they are, all others become F32
	F32    Precision = "f32"  // float32
	F16    Precision = "f16"  // IEEE 754's binary16: 11 significant bits, up to 65504
	BF16   Precision = "bf16" // the upper half of a float32: 8 significant bits
)

// Check returns an error for a precision that does not exist.
func (p Precision) Check() error {
	switch p {
	case OfFile, F32, F16, BF16:
		return nil
	}
	return fmt.Errorf("engine: precision %q, expected f32, f16 or bf16, or nothing for that of the file", string(p))
}

// DType returns the element type of a precision, and none for OfFile.
func (p Precision) DType() dtypes.DType {
	return map[Precision]dtypes.DType{F32: dtypes.Float32, F16: dtypes.Float16, BF16: dtypes.BFloat16}[p]
}
