package bench

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/doob-diffusion/doob/checkpoint"
)

var _ checkpoint.Source = RandomWeights{}

// RandomWeights are the tensors of a network that nobody has trained, made when they are asked for. Of a linear map or convolution they are uniform in
// sign and in magnitude from s to 2s, where s is the power of two that keeps the variance of what it is applied to, within a factor of two.
// Normalisations are those that change nothing, biases 0.
type RandomWeights struct {
	// Of has the shapes, by name.
	Of map[string][]int
	// Bits is 16 for F16, else they are F32.
	Bits int
	Seed uint64
}

// Path says that there is no file.
func (r RandomWeights) Path() string { return "random weights" }

// Names returns the names of all tensors, sorted.
func (r RandomWeights) Names() []string { return slices.Sorted(maps.Keys(r.Of)) }

// Info returns dtype and shape of a tensor.
func (r RandomWeights) Info(name string) (checkpoint.Info, bool) {
	shape, ok := r.Of[name]
	return checkpoint.Info{DType: r.dtype(), Shape: slices.Clone(shape)}, ok
}

func (r RandomWeights) dtype() checkpoint.DType {
	if r.Bits == 16 {
		return checkpoint.F16
	}
	return checkpoint.F32
}

// Close does nothing.
func (r RandomWeights) Close() error { return nil }

// Tensor makes a tensor: the same one at every call.
func (r RandomWeights) Tensor(name string) (checkpoint.Tensor, error) {
	shape, ok := r.Of[name]
	if !ok {
		return checkpoint.Tensor{}, fmt.Errorf("bench: got no tensor %q, expected one of %d", name, len(r.Of))
	}
	n := 1
	for _, s := range shape {
		n *= s
	}
	t := checkpoint.Tensor{Shape: slices.Clone(shape)}
	if r.Bits == 16 {
		t.F16 = make([]checkpoint.Float16, n)
	} else {
		t.F32 = make([]float32, n)
	}
	switch {
	case len(shape) == 1 && strings.HasSuffix(name, ".weight"):
		for i := range t.F16 {
			t.F16[i] = checkpoint.ToFloat16(1)
		}
		for i := range t.F32 {
			t.F32[i] = 1
		}
	case len(shape) > 1:
		// The mean square of what is uniform from s to 2s is 7s²/3.
		exponent := int(math.Round(math.Log2(math.Sqrt(3 / 7.0 * float64(shape[0]) / float64(n)))))
		x := r.Seed + 1
		for _, c := range name {
			x = x*6364136223846793005 + uint64(c)
		}
		random := func() uint64 {
			x ^= x << 13
			x ^= x >> 7
			x ^= x << 17
			return x
		}
		for i := range t.F16 {
			t.F16[i] = checkpoint.Float16(random()>>32&0x83ff) | checkpoint.Float16(15+max(exponent, -14))<<10
		}
		for i := range t.F32 {
			t.F32[i] = math.Float32frombits(uint32(random()>>32)&0x807fffff | uint32(127+exponent)<<23)
		}
	}
	return t, nil
}
