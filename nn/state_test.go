package nn_test

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/google/go-cmp/cmp"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
)

// trained is an engine with a network of a size below /h, after some steps, and a constant below /base.
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

func state(t *testing.T, e *engine.Engine, paths ...string) map[string]checkpoint.Tensor {
	t.Helper()
	values, err := nn.State(e, paths...)
	if err != nil {
		t.Fatal(err)
	}
	return values
}

// Parameters, moments and averages go through a file into another engine, bit for bit; other variables stay.
func TestStateRoundTrip(t *testing.T) {
	from, to := trained(t, 4, 1, 3), trained(t, 4, 1, 1)
	paths := nn.TrainingState("/h")
	values := state(t, from, paths...)
	if len(values) != 4*4 { // parameter, two moments and average of the weights and biases of two layers
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
	if err := nn.Restore(to, f.Tensors, paths...); err != nil {
		t.Fatal(err)
	}
	delete(values, "buffer/rows")
	if d := cmp.Diff(values, state(t, to, paths...)); d != "" {
		t.Errorf("variables (-saved +restored):\n%s", d)
	}
	if got := state(t, to, "/base")["base/c"].F32; got[0] != 1 {
		t.Errorf("a variable that was not saved is now %v", got)
	}
	f.Tensors["h/out/bias"].F32[0] = 99
	if got := state(t, to, "/h")["h/out/bias"].F32[0]; got == 99 {
		t.Error("the variable shares its memory with the tensor")
	}
	// Load takes only what is below its path, and that all.
	to = trained(t, 4, 1, 1)
	before := state(t, to, "/h")
	if err := nn.Load(file, to, nn.Averaged("/h")); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(before, state(t, to, "/h")); d != "" {
		t.Errorf("parameters, of which averages were loaded (-before +after):\n%s", d)
	}
	if d := cmp.Diff(state(t, from, nn.Averaged("/h")), state(t, to, nn.Averaged("/h"))); d != "" {
		t.Errorf("averages (-saved +loaded):\n%s", d)
	}
}

// Without paths, Restore takes what fits. A path is a folder: /h is not above /h2.
func TestRestoreWithoutPaths(t *testing.T) {
	e := trained(t, 4, 1, 1)
	e.Scope("/h2").VariableWithValue("c", float32(5))
	before := state(t, e, "/h", "/base")
	one := map[string]checkpoint.Tensor{"h/out/bias": {Shape: []int{1}, F32: []float32{7}}, "stranger": {Shape: []int{}, F32: []float32{1}}}
	if err := nn.Restore(e, one); err != nil {
		t.Fatal(err)
	}
	before["h/out/bias"] = one["h/out/bias"]
	if d := cmp.Diff(before, state(t, e, "/h", "/base")); d != "" {
		t.Errorf("variables (-want +got):\n%s", d)
	}
}

// A checkpoint of another architecture, or a damaged one, is refused by the name of a tensor or of the file, and nothing of it is loaded.
func TestRestoreRefuses(t *testing.T) {
	const architecture = "another architecture"
	for name, c := range map[string]struct {
		change func(v map[string]checkpoint.Tensor) map[string]checkpoint.Tensor
		want   []string
	}{
		"wider": {func(map[string]checkpoint.Tensor) map[string]checkpoint.Tensor {
			return state(t, trained(t, 5, 1, 1), "/h")
		}, []string{"h/hidden_0/weights", "[2 5]", "[2 4]", architecture}},
		"deeper": {func(map[string]checkpoint.Tensor) map[string]checkpoint.Tensor {
			return state(t, trained(t, 4, 2, 1), "/h")
		}, []string{"h/hidden_1/bias", architecture}},
		"lacks one": {func(v map[string]checkpoint.Tensor) map[string]checkpoint.Tensor {
			delete(v, "h/out/bias")
			return v
		}, []string{"no h/out/bias", architecture}},
		"nothing": {func(map[string]checkpoint.Tensor) map[string]checkpoint.Tensor { return nil }, []string{"no h/hidden_0/weights", architecture}},
		"doubles": {func(v map[string]checkpoint.Tensor) map[string]checkpoint.Tensor {
			v["h/out/bias"] = checkpoint.Tensor{Shape: []int{1}, F64: []float64{1}}
			return v
		}, []string{"h/out/bias", "float32"}},
		"not a number": {func(v map[string]checkpoint.Tensor) map[string]checkpoint.Tensor {
			v["h/hidden_0/weights"].F32[2] = float32(math.NaN())
			return v
		}, []string{"number 3 of h/hidden_0/weights is infinite or NaN"}},
	} {
		e := trained(t, 4, 1, 2)
		before := state(t, e, "/h")
		values := c.change(state(t, trained(t, 4, 1, 5), "/h"))
		file := filepath.Join(t.TempDir(), "x.safetensors")
		if err := checkpoint.Save(file, checkpoint.File{Tensors: values}); err != nil {
			t.Fatal(err)
		}
		says(t, nn.Restore(e, values, "/h"), c.want...)
		says(t, nn.Load(file, e, "/h"), append(c.want, file)...)
		if d := cmp.Diff(before, state(t, e, "/h")); d != "" {
			t.Errorf("%s: variables (-before +after):\n%s", name, d)
		}
	}

	e := trained(t, 4, 1, 2)
	before := state(t, e, "/h")
	file := filepath.Join(t.TempDir(), "h.safetensors")
	if err := checkpoint.Save(file, checkpoint.File{Tensors: state(t, trained(t, 4, 1, 5), "/h")}); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"half": string(whole[:len(whole)/2]), "all but one byte": string(whole[:len(whole)-1]), "one byte more": string(whole) + "x",
		"garbage": "garbage"} {
		if err := os.WriteFile(file, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		says(t, nn.Load(file, e, "/h"), file, "corrupt")
		if d := cmp.Diff(before, state(t, e, "/h")); d != "" {
			t.Errorf("%s: variables (-before +after):\n%s", name, d)
		}
	}
	says(t, nn.Load(file+"x", e, "/h"), file+"x", "no such file")
}

// says checks that an error says all the words.
func says(t *testing.T, err error, words ...string) {
	t.Helper()
	for _, w := range words {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("error %v\nlacks %q", err, w)
		}
	}
}
