package sd

import (
	"math"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gomlx/gomlx/core/tensors"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/internal/golden"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/noise"
)

// What is saved is read back to the same variables, and a variable depends on key and name only.
func TestCreateAndSave(t *testing.T) {
	f, err := Open(golden.Path("pipeline"))
	if err != nil {
		t.Fatal(err)
	}
	e, err := engine.Open(engine.Default)
	if err != nil {
		t.Fatal(err)
	}
	shapes := f.UNet.Tensors()
	m, err := Create(e.Scope("/made"), shapes, noise.New(1))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "diffusion_pytorch_model.safetensors")
	for _, precision := range []checkpoint.DType{checkpoint.F32, checkpoint.F16, checkpoint.BF16} {
		if err := m.Save(path, shapes, precision, nil); err != nil {
			t.Fatal(err)
		}
		r, err := checkpoint.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		w, err := newWeights(r, shapes, func(name string) string { return name })
		if err != nil {
			t.Fatal(err)
		}
		w.Precision = engine.F32
		again, err := w.Load(e.Scope("/"+string(precision)), nil)
		if err != nil {
			t.Fatal(err)
		}
		for name := range shapes {
			a, b := valuesOf(t, m, name), valuesOf(t, again, name)
			for i := range a {
				if want := round(a[i], precision); b[i] != want {
					t.Fatalf("%s, number %d of %s: got %g, want %g", precision, i, name, b[i], want)
				}
			}
		}
		w.Close()
	}
	if err := m.Save(path, shapes, checkpoint.I64, nil); err == nil {
		t.Error("weights are written as I64")
	}

	some := map[string][]int{"mid_block.resnets.0.conv1.weight": shapes["mid_block.resnets.0.conv1.weight"], "conv_norm_out.weight": shapes["conv_norm_out.weight"], "conv_norm_out.bias": shapes["conv_norm_out.bias"]}
	few, err := Create(e.Scope("/few"), some, noise.New(1))
	if err != nil {
		t.Fatal(err)
	}
	for name := range some {
		if !slices.Equal(valuesOf(t, m, name), valuesOf(t, few, name)) {
			t.Errorf("%s depends on what else is made", name)
		}
	}
	if scale, bias := valuesOf(t, m, "conv_norm_out.weight"), valuesOf(t, m, "conv_norm_out.bias"); scale[0] != 1 || bias[0] != 0 {
		t.Errorf("a normalisation begins as %g, %g", scale[0], bias[0])
	}
	kernel := valuesOf(t, m, "mid_block.resnets.0.conv1.weight")
	var square float64
	for _, v := range kernel {
		square += float64(v) * float64(v) / float64(len(kernel))
	}
	fan := float64(9 * some["mid_block.resnets.0.conv1.weight"][1])
	// the variance of u² is 4/5 of its squared mean
	oracle.Near(t, "variance of a convolution", square*3*fan, 1, 4*math.Sqrt(0.8/float64(len(kernel))))
}

// valuesOf returns the values of a parameter.
func valuesOf(t *testing.T, m Modules, name string) []float32 {
	t.Helper()
	v := m.Scope.GetVariable(name)
	if v == nil {
		t.Fatalf("there is no %s", name)
	}
	out, err := tensors.CopyFlatData[float32](v.MustValue())
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func round(x float32, precision checkpoint.DType) float32 {
	switch precision {
	case checkpoint.F16:
		return checkpoint.ToFloat16(x).Float32()
	case checkpoint.BF16:
		return checkpoint.ToBFloat16(x).Float32()
	}
	return x
}
