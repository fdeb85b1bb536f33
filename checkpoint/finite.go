package checkpoint

import (
	"math"
	"slices"
)

// NotFinite returns the place of the first number that is infinite or NaN, −1 if there is none. Files may hold such numbers; networks that are to compute with
// them may not.
func (t Tensor) NotFinite() int {
	switch t.DType() {
	case F16:
		return slices.IndexFunc(t.F16, func(v Float16) bool { return v&0x7c00 == 0x7c00 })
	case BF16:
		return slices.IndexFunc(t.BF16, func(v BFloat16) bool { return v&0x7f80 == 0x7f80 })
	case F64:
		return slices.IndexFunc(t.F64, func(v float64) bool { return v-v != 0 })
	case I64:
		return -1
	}
	return slices.IndexFunc(t.F32, func(v float32) bool { return math.Float32bits(v)&0x7f800000 == 0x7f800000 })
}
