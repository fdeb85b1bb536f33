package sd

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/gomlx/gomlx/core/tensors"
	"github.com/gomlx/gomlx/ml/model"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/noise"
)

// Create makes variables of all tensors of a network, such as [UNet.Tensors], to be trained from nothing. Linear maps and convolutions are uniform of
// variance 1/(3·fan-in), as PyTorch's are; embeddings normal of standard deviation 0.02; normalisations begin as 1 and biases as 0. A variable depends on
// the key and its name only.
func Create(scope *model.Scope, shapes map[string][]int, key noise.Key) (Modules, error) {
	for _, name := range slices.Sorted(maps.Keys(shapes)) {
		dims, out, kernel := arranged(shapes[name])
		values := initial(name, shapes[name], key.Sub(name))
		moved := make([]float32, len(values))
		arrange(moved, values, out, kernel)
		if _, err := scope.CreateVariable(name, tensors.FromFlatDataAndDimensions(moved, dims...)); err != nil {
			return Modules{}, fmt.Errorf("tensor %s: %w", name, err)
		}
	}
	return Modules{Scope: scope}, nil
}

// initial returns the values that a tensor has before training.
func initial(name string, shape []int, key noise.Key) []float32 {
	n := 1
	for _, s := range shape {
		n *= s
	}
	out := make([]float32, n)
	vector := len(shape) == 1
	switch {
	case name == "logit_scale":
		out[0] = float32(math.Log(1 / 0.07))
	case vector && strings.HasSuffix(name, ".bias"):
	case vector && strings.HasSuffix(name, ".weight"):
		for i := range out {
			out[i] = 1
		}
	case strings.Contains(name, "embedding") && !strings.Contains(name, "time_embedding") && !strings.Contains(name, "patch_embedding"),
		strings.HasSuffix(name, "cls_token"), strings.HasSuffix(name, "pos_embed"):
		key.Normal(out, 0, 0)
		for i := range out {
			out[i] *= 0.02
		}
	default:
		bound := 1 / math.Sqrt(float64(n/shape[0]))
		r := key.Rand()
		for i := range out {
			out[i] = float32(bound * (2*r.Float64() - 1))
		}
	}
	return out
}

// Save writes the variables of a network to a file of tensors, in PyTorch's layouts and a precision: F32, F16 or BF16. Shapes are those that it was made
// with.
func (m Modules) Save(path string, shapes map[string][]int, precision checkpoint.DType, metadata map[string]string) error {
	f := checkpoint.File{Tensors: map[string]checkpoint.Tensor{}, Metadata: metadata}
	for name, shape := range shapes {
		v := m.Scope.GetVariable(m.prefix + name)
		if v == nil {
			return fmt.Errorf("sd: no parameter %q below %s to save", m.prefix+name, m.Scope.Scope())
		}
		values, err := stored(v.MustValue(), shape)
		if err == nil {
			f.Tensors[name], err = checkpoint.Rounded(shape, values, precision)
		}
		if err != nil {
			return fmt.Errorf("tensor %s: %w", name, err)
		}
	}
	return checkpoint.Save(path, f)
}

// stored undoes [arrange].
func stored(value *tensors.Tensor, shape []int) ([]float32, error) {
	moved, err := tensors.CopyFlatData[float32](value)
	if err != nil || len(shape) != 4 || shape[2]*shape[3] == 1 {
		return moved, err
	}
	out, in, kernel := shape[0], shape[1], shape[2]*shape[3]
	values := make([]float32, len(moved))
	for o := range out {
		for i := range in {
			for k := range kernel {
				values[(o*in+i)*kernel+k] = moved[(k*in+i)*out+o]
			}
		}
	}
	return values, nil
}
