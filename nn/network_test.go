package nn_test

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/gomlx/gomlx/ml/model"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
)

// A network on patches is the network on images whose channels are the pixels of a patch, there and back.
func TestPatch(t *testing.T) {
	const n, side, patch = 3, 8, 2
	e := oracle.Open(t)
	u := tiny(e)
	u.Patch = patch
	u.Init(noise.New(1), 1, 0)
	randomize(t, e)
	x := images(n, side*side*2)
	got := apply(t, e, u, x, side, side, 0.3)

	whole := u
	whole.Patch, whole.In, whole.Out = 0, 2*patch*patch, 3*patch*patch
	if whole.Size() != u.Size() || whole.FLOPs(side/patch, side/patch) != u.FLOPs(side, side) {
		t.Errorf("sizes %d and %d, operations %g and %g", whole.Size(), u.Size(), whole.FLOPs(side/patch, side/patch), u.FLOPs(side, side))
	}
	program, err := e.Compile(func(in []*graph.Node) []*graph.Node { return []*graph.Node{whole.Apply(in[1], in[0])} })
	if err != nil {
		t.Fatal(err)
	}
	// at is where channel c of pixel (i, j) of image k lies, in images of whole pixels and of patches.
	at := func(k, i, j, c, channels int) (pixel, patched int) {
		pixel = ((k*side+i)*side+j)*channels + c
		patched = ((k*side/patch+i/patch)*side/patch+j/patch)*channels*patch*patch + (i%patch*patch+j%patch)*channels + c
		return pixel, patched
	}
	each := func(channels int, fn func(pixel, patched int)) {
		for k := range n {
			for i := range side {
				for j := range side {
					for c := range channels {
						fn(at(k, i, j, c, channels))
					}
				}
			}
		}
	}
	y := make([]float32, len(x))
	each(2, func(pixel, patched int) { y[patched] = x[pixel] })
	out, err := program.Run(engine.Rows(y, side/patch, side/patch, 2*patch*patch), []float32{0.3})
	if err != nil {
		t.Fatal(err)
	}
	want := tensors.MustCopyFlatData[float32](out[0])
	each(3, func(pixel, patched int) {
		if got[pixel] != want[patched] {
			t.Fatalf("pixel %d is %g, want %g", pixel, got[pixel], want[patched])
		}
	})
}

// A copy with more inputs is the same function of the first of them, but can learn from the others.
func TestCopy(t *testing.T) {
	e := oracle.Open(t)
	u := tiny(e)
	u.Patch = 2
	u.Init(noise.New(1), 1, 0)
	randomize(t, e)
	more := u.At(e.Scope("/more/deep"))
	more.In = 5
	if err := nn.Copy(begin(more, 2, 1, 0), u); err != nil {
		t.Fatal(err)
	}
	program, err := e.Compile(func(in []*graph.Node) []*graph.Node {
		weights := e.Params.GetVariable("/more/deep/in/weights").NodeValue(in[0])
		y := more.Apply(in[2], in[0], in[1])
		return []*graph.Node{u.Apply(in[2], in[0]), y, graph.Gradient(graph.ReduceAllSum(graph.Square(y)), weights)[0]}
	})
	if err != nil {
		t.Fatal(err)
	}
	out, err := program.Run(engine.Rows(images(2, 8*8*2), 8, 8, 2), engine.Rows(images(2, 8*8*3), 8, 8, 3), []float32{0.2, 0.9})
	if err != nil {
		t.Fatal(err)
	}
	want, got := tensors.MustCopyFlatData[float32](out[0]), tensors.MustCopyFlatData[float32](out[1])
	for i := range want {
		if math.Abs(float64(got[i]-want[i])) > 2e-5*(1+math.Abs(float64(want[i]))) {
			t.Fatalf("value %d is %g, want %g", i, got[i], want[i])
		}
	}
	if gradient := tensors.MustCopyFlatData[float32](out[2]); slices.Contains(gradient, 0) {
		t.Error("some weight of the first convolution has no gradient")
	}
	// What one learns the other does not.
	before := slices.Clone(want)
	if err := e.Params.GetVariable("/u/out/conv/bias").SetValue(tensors.FromFlatDataAndDimensions(images(1, 12), 12)); err != nil {
		t.Fatal(err)
	}
	if out, err = program.Run(engine.Rows(images(2, 8*8*2), 8, 8, 2), engine.Rows(images(2, 8*8*3), 8, 8, 3), []float32{0.2, 0.9}); err != nil {
		t.Fatal(err)
	}
	if slices.Equal(before, tensors.MustCopyFlatData[float32](out[0])) == slices.Equal(got, tensors.MustCopyFlatData[float32](out[1])) {
		t.Error("the networks share parameters")
	}
	for name, change := range map[string]func(*nn.UNet){
		"wider":           func(u *nn.UNet) { u.Width = 8 },
		"fewer blocks":    func(u *nn.UNet) { u.Blocks = 1 },
		"deeper bottom":   func(u *nn.UNet) { u.Bottom = 4 },
		"more levels":     func(u *nn.UNet) { u.Multipliers = []int{1, 2, 2} },
		"fewer inputs":    func(u *nn.UNet) { u.In = 1 },
		"further outputs": func(u *nn.UNet) { u.Out = 4 },
	} {
		e := oracle.Open(t)
		u := begin(tiny(e), 1, 1, 0)
		other := u.At(e.Scope("/other"))
		change(&other)
		begin(other, 1, 1, 0)
		if name == "further outputs" { // what fits is not set either
			randomize(t, e)
		}
		before := value(t, e, "/other/in/weights")
		if err := nn.Copy(other, u); err == nil || !strings.Contains(err.Error(), "want the same layers") {
			t.Errorf("%s: %v", name, err)
		}
		if !slices.Equal(before, value(t, e, "/other/in/weights")) {
			t.Errorf("%s: some parameters were set", name)
		}
	}
}

// So it is for perceptrons, whose inputs are joined by their octaves, and for classifiers.
func TestCopyOfOthers(t *testing.T) {
	e := oracle.Open(t)
	few, many := nn.MLP{In: 2, Out: 2, Width: 8, Depth: 2, Octaves: 2, Timed: true}, nn.MLP{In: 6, Out: 2, Width: 8, Depth: 2, Octaves: 2, Timed: true}
	a, b := begin(few.At(e.Scope("/a")), 1, 1, 0), begin(many.At(e.Scope("/b")), 2, 1, 0)
	c, d := begin(nn.CNN{Scope: e.Scope("/c"), In: 2, Out: 3, Width: 8}, 1, 1, 0), begin(nn.CNN{Scope: e.Scope("/d"), In: 3, Out: 3, Width: 8}, 2, 1, 0)
	for _, err := range []error{nn.Copy(b, a), nn.Copy(d, c)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	program, err := e.Compile(func(in []*graph.Node) []*graph.Node {
		return []*graph.Node{a.Apply(in[0], in[1]), b.Apply(in[0], in[1], in[2], in[2]), c.Apply(nil, in[3]), d.Apply(nil, in[3], in[4])}
	})
	if err != nil {
		t.Fatal(err)
	}
	out, err := program.Run([]float32{0.1, 0.8, 0.4}, engine.Rows(images(3, 2), 2), engine.Rows(images(3, 2), 2),
		engine.Rows(images(2, 4*4*2), 4, 4, 2), engine.Rows(images(2, 4*4), 4, 4, 1))
	if err != nil {
		t.Fatal(err)
	}
	for k := 0; k < 4; k += 2 {
		want, got := tensors.MustCopyFlatData[float32](out[k]), tensors.MustCopyFlatData[float32](out[k+1])
		for i := range want {
			oracle.Near(t, "value", got[i], float64(want[i]), 2e-5*(1+math.Abs(float64(want[i]))))
		}
	}
	if nn.Copy(a, c) == nil || nn.Copy(a, b) == nil {
		t.Error("a copy of another kind of network, or of more inputs: no error")
	}
}

// A network lists its parameters by path, wherever they are, and reads the place that it is said to have.
func TestWithin(t *testing.T) {
	for _, n := range []nn.Network{nn.MLP{In: 2, Out: 2, Width: 8, Depth: 2}, nn.UNet{In: 2, Out: 2, Width: 8, Multipliers: []int{1}}, nn.CNN{In: 2, Out: 2}, nn.Perceptron{In: 8, Out: 2, Width: 8, Depth: 1}} {
		e := oracle.Open(t)
		e.Scope("/hh").VariableWithValue("other", float32(1))
		n = n.Within(func(*model.Scope) *model.Scope { return e.Scope("/h") }).Init(noise.New(1), 1, 0)
		trainer, err := nn.NewTrainer(e, n.Parameters(), nn.Optimizer{}, func(in []*graph.Node) *graph.Node {
			return graph.ReduceAllMean(graph.Square(n.Apply(graph.Reshape(in[0], 1), in[1])))
		})
		if err != nil {
			t.Fatal(err)
		}
		x := engine.Rows(images(2, 8), 2, 2, 2)
		if _, ok := n.(nn.MLP); ok {
			x = engine.Rows(images(2, 2), 2)
		}
		if _, err := trainer.Step(float32(0.5), x); err != nil {
			t.Fatal(err)
		}
		at := n.Within(nn.Averages(e))
		own, average := n.Parameters(), at.Parameters()
		if len(own) != len(variables(e, "/h")) || len(average) != len(own) || !slices.IsSortedFunc(own, func(a, b *model.Variable) int { return strings.Compare(a.Path(), b.Path()) }) {
			t.Errorf("%T: %d parameters, %d averages, want %d sorted by path", n, len(own), len(average), len(variables(e, "/h")))
		}
		for i, v := range average {
			if v.Path() != nn.Averaged(own[i].Path()) {
				t.Errorf("%T: the average of %s is %s", n, own[i].Path(), v.Path())
			}
		}
	}
}

// Sizes are read and written as settings, and nothing else is: JSON is what networks that are stored are found by.
func TestSizesAsSettings(t *testing.T) {
	e := oracle.Open(t)
	for _, c := range []struct {
		n    nn.Network
		json string
		yaml string
	}{
		{nn.MLP{Scope: e.Scope("/h"), In: 1, Out: 2, Width: 3, Depth: 4, Octaves: 5, Timed: true}, `{"Width":3,"Depth":4,"Octaves":5}`, "width: 3\ndepth: 4\noctaves: 5\n"},
		{nn.CNN{Scope: e.Scope("/h"), In: 1, Out: 2, Width: 16}, `{"Width":16}`, "width: 16\n"},
		{nn.Perceptron{Scope: e.Scope("/h"), In: 1, Out: 2, Width: 16, Depth: 3}, `{"Width":16,"Depth":3}`, "width: 16\ndepth: 3\n"},
		{nn.UNet{Scope: e.Scope("/h"), In: 1, Out: 2, Width: 8, Multipliers: []int{1, 2}, Blocks: 2, Heads: 4, Patch: 2, Attention: []int{0}, Groups: 2},
			`{"Width":8,"Multipliers":[1,2],"Blocks":2,"Heads":4,"Patch":2}`, "width: 8\nmultipliers:\n- 1\n- 2\nblocks: 2\nheads: 4\npatch: 2\nbottom: 0\ncheckpoint: false\n"},
		{nn.UNet{Width: 8, Bottom: 2, Checkpoint: true}, `{"Width":8,"Multipliers":null,"Blocks":0,"Heads":0,"Patch":0,"Bottom":2,"Checkpoint":true}`,
			"width: 8\nmultipliers: []\nblocks: 0\nheads: 0\npatch: 0\nbottom: 2\ncheckpoint: true\n"},
	} {
		if got, err := json.Marshal(c.n); err != nil || string(got) != c.json {
			t.Errorf("%T: JSON %s, error %v; want %s", c.n, got, err, c.json)
		}
		if got, err := yaml.Marshal(c.n); err != nil || string(got) != c.yaml {
			t.Errorf("%T: YAML %q, error %v; want %q", c.n, got, err, c.yaml)
		}
	}
}

// The inputs of a perceptron are flattened, and its result has the shape of the first.
func TestMLPApply(t *testing.T) {
	e := oracle.Open(t)
	m := begin(nn.MLP{Scope: e.Scope("/m"), In: 12, Out: 6, Width: 8, Depth: 1, Timed: true}, 1, 1, 0)
	a, b := images(2, 6), images(2, 6)
	program, err := e.Compile(func(in []*graph.Node) []*graph.Node {
		flat := graph.Concatenate([]*graph.Node{graph.Reshape(in[0], 2, 6), graph.Reshape(in[1], 2, 6)}, -1)
		return []*graph.Node{m.Apply(in[2], in[0], in[1]), graph.Reshape(m.Dense(in[2], flat), 2, 2, 3)}
	})
	if err != nil {
		t.Fatal(err)
	}
	out, err := program.Run(engine.Rows(a, 2, 3), engine.Rows(b, 2, 3), []float32{0.5})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := tensors.MustCopyFlatData[float32](out[0]), tensors.MustCopyFlatData[float32](out[1]); !slices.Equal(got, want) || !out[0].Shape().Equal(out[1].Shape()) {
		t.Errorf("%v and %v", got, want)
	}
}
