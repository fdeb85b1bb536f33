package experiment

import (
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/google/go-cmp/cmp"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
)

// trained is an engine with a network of the given width below /h, after a few steps, and a constant below /base.
func trained(t *testing.T, width, depth, steps int) *engine.Engine {
	t.Helper()
	e, err := engine.Open("")
	if err != nil {
		t.Fatal(err)
	}
	e.Scope("/base").VariableWithValue("c", float32(steps))
	m := nn.MLP{Scope: e.Scope("/h"), In: 2, Out: 1, Width: width, Depth: depth}
	m.Init(noise.New(uint64(steps)), 1, 0)
	trainer, err := nn.NewTrainer(e, m.Parameters(), nn.Optimizer{EMA: 0.5}, func(in []*graph.Node) *graph.Node {
		return graph.ReduceAllMean(graph.Square(m.Dense(nil, in[0])))
	})
	if err != nil {
		t.Fatal(err)
	}
	for range steps {
		if _, err := trainer.Step(engine.Rows([]float32{1, 2, 3, 4}, 2)); err != nil {
			t.Fatal(err)
		}
	}
	return e
}

func all(t *testing.T, e *engine.Engine, paths ...string) map[string]checkpoint.Tensor {
	t.Helper()
	values, err := variables(e, paths...)
	if err != nil {
		t.Fatal(err)
	}
	return values
}

// Parameters, moments and averages go through a file into another engine, bit for bit; other variables stay.
func TestVariables(t *testing.T) {
	from, to := trained(t, 4, 1, 3), trained(t, 4, 1, 1)
	paths := []string{"/h", "/optimizer/h", nn.Averaged("/h")}
	values := all(t, from, paths...)
	if len(values) != 4*4 { // weights and biases of two layers
		t.Fatalf("%d variables, want 16: %v", len(values), values)
	}
	for _, name := range []string{"h/out/bias", "optimizer/h/out/bias/m", "optimizer/h/out/bias/v", "ema/h/out/bias"} {
		if v, ok := values[name]; !ok || len(v.F32) != 1 || math.Abs(float64(v.F32[0])) == 0 {
			t.Errorf("%s is %+v", name, v)
		}
	}
	values["buffer/rows"] = checkpoint.Tensor{Shape: []int{1}, F32: []float32{1}} // a matter of others
	file := filepath.Join(t.TempDir(), "x.safetensors")
	if err := checkpoint.Save(file, checkpoint.File{Tensors: values}); err != nil {
		t.Fatal(err)
	}
	f, err := checkpoint.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := restore(to, f.Tensors, paths...); err != nil {
		t.Fatal(err)
	}
	delete(values, "buffer/rows")
	if d := cmp.Diff(values, all(t, to, paths...)); d != "" {
		t.Errorf("variables (-saved +restored):\n%s", d)
	}
	if got := all(t, to, "/base")["base/c"].F32; got[0] != 1 {
		t.Errorf("a variable that was not saved is now %v", got)
	}
	f.Tensors["h/out/bias"].F32[0] = 99
	if got := all(t, to, "/h")["h/out/bias"].F32[0]; got == 99 {
		t.Error("the variable shares its memory with the tensor")
	}
}

// Without paths, restore takes what fits.
func TestRestoreWithoutPaths(t *testing.T) {
	e := trained(t, 4, 1, 1)
	before := all(t, e, "/h", "/base")
	one := map[string]checkpoint.Tensor{"h/out/bias": {Shape: []int{1}, F32: []float32{7}}, "stranger": {Shape: []int{}, F32: []float32{1}}}
	if err := restore(e, one); err != nil {
		t.Fatal(err)
	}
	before["h/out/bias"] = one["h/out/bias"]
	if d := cmp.Diff(before, all(t, e, "/h", "/base")); d != "" {
		t.Errorf("variables (-want +got):\n%s", d)
	}
}

// A checkpoint of another architecture is refused by the name of a tensor, and nothing of it is loaded.
func TestAnotherArchitecture(t *testing.T) {
	const architecture = "another architecture"
	for name, c := range map[string]struct {
		change func(values map[string]checkpoint.Tensor) map[string]checkpoint.Tensor
		want   []string
	}{
		"wider": {func(map[string]checkpoint.Tensor) map[string]checkpoint.Tensor {
			return all(t, trained(t, 5, 1, 1), "/h")
		},
			[]string{"h/hidden_0/weights", "[2 5]", "[2 4]", architecture}},
		"deeper": {func(map[string]checkpoint.Tensor) map[string]checkpoint.Tensor {
			return all(t, trained(t, 4, 2, 1), "/h")
		},
			[]string{"h/hidden_1/bias", architecture}},
		"lacks one": {func(v map[string]checkpoint.Tensor) map[string]checkpoint.Tensor { delete(v, "h/out/bias"); return v },
			[]string{"no h/out/bias", architecture}},
		"nothing": {func(map[string]checkpoint.Tensor) map[string]checkpoint.Tensor { return nil },
			[]string{"no h/hidden_0/weights", architecture}},
		"doubles": {func(v map[string]checkpoint.Tensor) map[string]checkpoint.Tensor {
			v["h/out/bias"] = checkpoint.Tensor{Shape: []int{1}, F64: []float64{1}}
			return v
		}, []string{"h/out/bias", "float32"}},
	} {
		e := trained(t, 4, 1, 2)
		before := all(t, e, "/h")
		values := c.change(all(t, trained(t, 4, 1, 5), "/h"))
		file := filepath.Join(t.TempDir(), "x.safetensors")
		if err := checkpoint.Save(file, checkpoint.File{Tensors: values}); err != nil {
			t.Fatal(err)
		}
		wantError(t, restore(e, values, "/h"), c.want...)
		wantError(t, loadParameters(file, e, "/h"), append(c.want, file)...)
		if d := cmp.Diff(before, all(t, e, "/h")); d != "" {
			t.Errorf("%s: variables (-before +after):\n%s", name, d)
		}
	}
}

// A damaged checkpoint is refused by its name, before any variable is set.
func TestLoadDamagedParameters(t *testing.T) {
	e := trained(t, 4, 1, 2)
	before := all(t, e, "/h")
	file := filepath.Join(t.TempDir(), "h.safetensors")
	if err := saveParameters(file, trained(t, 4, 1, 5), nil, "/h"); err != nil {
		t.Fatal(err)
	}
	whole := read(t, file)
	for name, text := range map[string]string{"half": whole[:len(whole)/2], "all but one byte": whole[:len(whole)-1], "one byte more": whole + "x", "garbage": "garbage"} {
		if err := os.WriteFile(file, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		err := loadParameters(file, e, "/h")
		wantError(t, err, file, "corrupt")
		if d := cmp.Diff(before, all(t, e, "/h")); d != "" {
			t.Errorf("%s: variables (-before +after):\n%s", name, d)
		}
	}
	wantError(t, loadParameters(file+"x", e, "/h"), file+"x", "no such file")
}
