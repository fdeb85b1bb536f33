package nn_test

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
)

// A network on patches is the network on images whose channels are the pixels of a patch, there and back.
func TestPatch(t *testing.T) {
	const n, side, patch = 3, 8, 2
	e := open(t)
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
	program, err := e.Compile(func(in []*graph.Node) []*graph.Node { return []*graph.Node{whole.Apply(in[0], in[1])} })
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

// Started from another network, a network with more inputs is the same function of the first of them, but can learn from
// the others.
func TestFrom(t *testing.T) {
	e := open(t)
	u := tiny(e)
	u.Patch = 2
	u.Init(noise.New(1), 1, 0)
	randomize(t, e)
	more := u.At(e.Scope("/more/deep"))
	more.In = 5
	more, err := more.Init(noise.New(2), 1, 0).From(u)
	if err != nil {
		t.Fatal(err)
	}
	program, err := e.Compile(func(in []*graph.Node) []*graph.Node {
		weights := e.Params.GetVariable("/more/deep/in/weights").NodeValue(in[0])
		y := more.Field(in[2], in[0], in[1])
		return []*graph.Node{u.Field(in[2], in[0]), y, graph.Gradient(graph.ReduceAllSum(graph.Square(y)), weights)[0]}
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
		e := open(t)
		u := tiny(e).Init(noise.New(1), 1, 0)
		other := u.At(e.Scope("/other"))
		change(&other)
		if _, err := other.Init(noise.New(1), 1, 0).From(u); err == nil || !strings.Contains(err.Error(), "want the same layers") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The inputs of a perceptron are flattened, and its result has the shape of the first.
func TestMLPField(t *testing.T) {
	e := open(t)
	m := nn.MLP{Scope: e.Scope("/m"), In: 12, Out: 6, Width: 8, Depth: 1, Timed: true}.Init(noise.New(1), 1, 0)
	a, b := images(2, 6), images(2, 6)
	program, err := e.Compile(func(in []*graph.Node) []*graph.Node {
		flat := graph.Concatenate([]*graph.Node{graph.Reshape(in[0], 2, 6), graph.Reshape(in[1], 2, 6)}, -1)
		return []*graph.Node{m.Within(e.Scope("/m")).Field(in[2], in[0], in[1]), graph.Reshape(m.Apply(flat, in[2]), 2, 2, 3)}
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
