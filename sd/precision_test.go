package sd

import (
	"errors"
	"slices"
	"testing"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/cpu"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/internal/golden"
	"github.com/doob-diffusion/doob/internal/oracle"
)

// rounded are the tensors of a source in F32, with the values that a precision of 16 bits has for them; vectors are as they were.
type rounded struct {
	checkpoint.Source
	to func(v float32) float32
}

func (r rounded) Tensor(name string) (checkpoint.Tensor, error) {
	t, err := r.Source.Tensor(name)
	if err != nil || len(t.Shape) < 2 {
		return t, err
	}
	values, err := t.Float32s()
	out := checkpoint.Tensor{Shape: t.Shape, F32: slices.Clone(values)}
	for i, v := range out.F32 {
		out.F32[i] = r.to(v)
	}
	return out, err
}

// A network whose weights have 16 bits gives, bit for bit, what it gives with these weights widened first: its outputs and the gradient of its input,
// on all instruction sets.
func TestHalfWeightsGiveTheBitsOfWidenedOnes(t *testing.T) {
	f, err := Open(golden.Path("pipeline"))
	if err != nil {
		t.Fatal(err)
	}
	g, text := read(t, "unet/forward.safetensors"), read(t, "text/encoder.safetensors")
	networks := []struct {
		name   string
		open   func() (*Weights, error)
		apply  func(m Modules, in []*graph.Node) []*graph.Node
		inputs func() []any // fresh ones: a tensor belongs to one engine
	}{
		{"U-Net", f.UNetWeights, func(m Modules, in []*graph.Node) []*graph.Node {
			y := f.UNet.Apply(m, in[0], in[1], in[2])
			return []*graph.Node{y, graph.Gradient(graph.ReduceAllSum(graph.Square(y)), in[0])[0]}
		}, func() []any {
			return []any{g.pictures("sample"), g.input("timestep"), g.input("encoder_hidden_states")}
		}},
		{"text encoder", f.TextWeights, func(m Modules, in []*graph.Node) []*graph.Node { return []*graph.Node{f.Text.Apply(m, in[0], 0)} },
			func() []any { return []any{text.input("input_ids")} }},
		{"autoencoder", f.VAEWeights, func(m Modules, in []*graph.Node) []*graph.Node { return []*graph.Node{f.VAE.Decode(m, in[0])} },
			func() []any { return []any{g.pictures("sample")} }},
	}
	precisions := map[engine.Precision]func(v float32) float32{
		engine.F16:  func(v float32) float32 { return checkpoint.ToFloat16(v).Float32() },
		engine.BF16: func(v float32) float32 { return checkpoint.ToBFloat16(v).Float32() },
	}
	for _, set := range cpu.InstructionSets() {
		for precision, to := range precisions {
			for _, n := range networks {
				var results [2][][]float32
				for i := range results {
					w, err := n.open()
					if err != nil {
						t.Fatal(err)
					}
					if w.Precision = precision; i == 1 {
						w.Precision, w.source = engine.F32, rounded{w.source, to}
					}
					e := oracle.OpenOn(t, "cpu:workers=1,"+set)
					m, err := w.Load(e.Scope("/model"), nil)
					if err := errors.Join(err, w.Close()); err != nil {
						t.Fatal(err)
					}
					results[i] = oracle.RunOn(t, e, func(in []*graph.Node) []*graph.Node { return n.apply(m, in) }, n.inputs()...)
				}
				for k, got := range results[0] {
					if !slices.Equal(got, results[1][k]) {
						t.Errorf("%s, %s, %s: output %d has other bits than with widened weights", set, precision, n.name, k)
					}
				}
			}
		}
	}
}

// one is a source of a single tensor.
type one struct {
	checkpoint.Source
	tensor checkpoint.Tensor
}

func (o one) Path() string                             { return "one" }
func (o one) Tensor(string) (checkpoint.Tensor, error) { return o.tensor, nil }

func TestPrecisionOfLoad(t *testing.T) {
	matrix := checkpoint.Tensor{Shape: []int{2, 2}, F32: []float32{1, -65504, 1e-7, 70000}}
	load := func(p engine.Precision, tensor checkpoint.Tensor) (dtype string, err error) {
		w := &Weights{Precision: p, source: one{tensor: tensor}, files: map[string]string{"a.weight": "a.weight"}, shapes: map[string][]int{"a.weight": tensor.Shape}}
		e := oracle.OpenOn(t, "")
		m, err := w.Load(e.Scope("/model"), nil)
		if err != nil {
			return "", err
		}
		v := m.Scope.GetVariable("a.weight")
		if v.Trainable {
			t.Error("a loaded weight is trainable")
		}
		return v.Shape().DType.String(), nil
	}
	half := checkpoint.Tensor{Shape: []int{2, 1}, F16: []checkpoint.Float16{1, 2}}
	vector := checkpoint.Tensor{Shape: []int{2}, F16: []checkpoint.Float16{1, 2}}
	for _, c := range []struct {
		p      engine.Precision
		tensor checkpoint.Tensor
		want   string
	}{
		{engine.OfFile, matrix, "Float32"}, {engine.F32, matrix, "Float32"}, {engine.BF16, matrix, "BFloat16"},
		{engine.OfFile, half, "Float16"}, {engine.F32, half, "Float32"}, {engine.BF16, half, "BFloat16"}, {engine.OfFile, vector, "Float32"}, {engine.F16, vector, "Float32"},
	} {
		if got, err := load(c.p, c.tensor); err != nil || got != c.want {
			t.Errorf("precision %q of %s%v: got %s, %v; want %s", c.p, c.tensor.DType(), c.tensor.Shape, got, err, c.want)
		}
	}
	_, err := load(engine.F16, matrix)
	if !errors.Is(err, ErrWeights) {
		t.Errorf("70000 in f16: error %v, want ErrWeights", err)
	}
	oracle.WantError(t, err, "a.weight", "number 4", "70000", "f16", "bf16")
	_, err = load("f8", matrix)
	oracle.WantError(t, err, "f8", "bf16")
}

// A kernel [out, in, rows, columns] becomes [rows, columns, in, out], whatever its size.
func TestArrange(t *testing.T) {
	for _, d := range [][3]int{{1, 1, 9}, {3, 5, 9}, {70, 40, 9}, {33, 2, 4}, {64, 65, 9}} {
		out, in, kernel := d[0], d[1], d[2]
		from, to := make([]int, out*in*kernel), make([]int, out*in*kernel)
		for i := range from {
			from[i] = i
		}
		arrange(to, from, out, kernel)
		for o := range out {
			for i := range in {
				for k := range kernel {
					if got, want := to[(k*in+i)*out+o], (o*in+i)*kernel+k; got != want {
						t.Fatalf("%v: [%d, %d, %d] is number %d, want %d", d, k, i, o, got, want)
					}
				}
			}
		}
	}
	same := []int{0, 0}
	if arrange(same, []int{4, 5}, 2, 1); !slices.Equal(same, []int{4, 5}) {
		t.Errorf("a linear map became %v, want it as it was", same)
	}
}
