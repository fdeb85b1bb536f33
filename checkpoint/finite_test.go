package checkpoint

import (
	"math"
	"testing"
)

// The first number that is not finite is found in every precision, and the largest finite one is none.
func TestNotFinite(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(-1)
	for i, c := range []struct {
		tensor Tensor
		want   int
	}{
		{Tensor{}, -1}, {Tensor{I64: []int64{math.MaxInt64, -1}}, -1},
		{Tensor{F32: []float32{0, math.MaxFloat32, -1e-45}}, -1}, {Tensor{F32: []float32{0, float32(nan), float32(nan)}}, 1}, {Tensor{F32: []float32{float32(inf)}}, 0},
		{Tensor{F64: []float64{math.MaxFloat64, -5e-324}}, -1}, {Tensor{F64: []float64{1, 2, nan}}, 2}, {Tensor{F64: []float64{inf, 0}}, 0},
		{Tensor{F16: []Float16{ToFloat16(65504), 1}}, -1}, {Tensor{F16: []Float16{0, ToFloat16(float32(inf))}}, 1}, {Tensor{F16: []Float16{ToFloat16(float32(nan))}}, 0},
		{Tensor{BF16: []BFloat16{ToBFloat16(1e38), 1}}, -1}, {Tensor{BF16: []BFloat16{0, 0, ToBFloat16(float32(nan))}}, 2}, {Tensor{BF16: []BFloat16{ToBFloat16(float32(inf))}}, 0},
	} {
		if got := c.tensor.NotFinite(); got != c.want {
			t.Errorf("case %d: %d, want %d", i, got, c.want)
		}
	}
}
