package nn_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
)

func smallCNN(e *engine.Engine) nn.CNN { return nn.CNN{Scope: e.Scope("/u"), In: 2, Out: 3, Width: 8} }

// classify evaluates a CNN, and its features, on images of shape [height, width, In].
func classify(t *testing.T, e *engine.Engine, c nn.CNN, x []float32, height, width int) (result, features []float32) {
	t.Helper()
	program, err := e.Compile(func(in []*graph.Node) []*graph.Node { return []*graph.Node{c.Apply(nil, in[0]), c.Features(in[0])} })
	if err != nil {
		t.Fatal(err)
	}
	out, err := program.Run(engine.Rows(x, height, width, c.In))
	if err != nil {
		t.Fatal(err)
	}
	n := len(x) / (height * width * c.In)
	for i, size := range []int{c.Out, c.FeatureSize()} {
		if got, want := out[i].Shape().Dimensions, []int{n, size}; !slices.Equal(got, want) {
			t.Fatalf("dimensions %v, want %v", got, want)
		}
	}
	return tensors.MustCopyFlatData[float32](out[0]), tensors.MustCopyFlatData[float32](out[1])
}

// The architecture, layer by layer in float64.
func TestCNNAgainstReference(t *testing.T) {
	e := oracle.Open(t)
	c := begin(smallCNN(e), 1, 1, 0)
	randomize(t, e)
	const height, width = 8, 12
	x := images(2, height*width*2)
	result, features := classify(t, e, c, x, height, width)
	r := reference{t, e}
	for image := range 2 {
		p := picture{height, width, nil}
		for i := range height * width {
			at := 2 * (image*height*width + i)
			p.pixels = append(p.pixels, []float64{float64(x[at]), float64(x[at+1])})
		}
		for i, stride := range []int{1, 2, 1, 2, 1} {
			p = r.conv(fmt.Sprintf("conv_%d", i), p, stride)
			if i < 4 {
				p = r.norm(fmt.Sprintf("norm_%d", i), p, len(p.pixels[0])/8)
			}
			p = p.each(silu)
		}
		if p.height != 2 || p.width != 3 {
			t.Fatalf("the reference ends with %d×%d", p.height, p.width)
		}
		mean := make([]float64, 16)
		for _, pixel := range p.pixels {
			for k, v := range pixel {
				mean[k] += v / float64(len(p.pixels))
			}
		}
		for k, want := range mean {
			oracle.Near(t, fmt.Sprintf("feature %d of image %d", k, image), features[image*16+k], want, 1e-4*(1+math.Abs(want)))
		}
		for k, want := range r.dense("out", mean) {
			oracle.Near(t, fmt.Sprintf("result %d of image %d", k, image), result[image*3+k], want, 1e-4*(1+math.Abs(want)))
		}
	}
}

func TestCNNInit(t *testing.T) {
	a, b := oracle.Open(t), oracle.Open(t)
	b.Scope("/before").VariableWithValue("w", float32(1))
	c := begin(nn.CNN{Scope: a.Scope("/u"), In: 1, Out: 10}, 7, 0.5, 0.25)
	nn.CNN{Scope: b.Scope("/u"), In: 1, Out: 10}.Init(noise.New(7), 0.5, 0.25)
	total := 0
	var names []string
	for _, p := range variables(a, "/u") {
		total += p.Shape().Size()
		names = append(names, strings.TrimPrefix(p.Path(), "/u/"))
		if !slices.Equal(value(t, a, p.Path()), value(t, b, p.Path())) {
			t.Errorf("%s depends on more than key and name", p.Path())
		}
	}
	want := []string{"out/bias", "out/weights"}
	for i := range 5 {
		want = append(want, fmt.Sprintf("conv_%d/bias", i), fmt.Sprintf("conv_%d/weights", i))
		if i < 4 {
			want = append(want, fmt.Sprintf("norm_%d/bias", i), fmt.Sprintf("norm_%d/scale", i))
		}
	}
	slices.Sort(want)
	if !slices.Equal(names, want) {
		t.Errorf("parameters %v, want %v", names, want)
	}
	if want := 9*(32+32*64+3*64*64) + (32 + 4*64) + 2*(32+3*64) + 64*10 + 10; total != want {
		t.Errorf("%d parameters, want %d", total, want)
	}
	var square float64
	for _, v := range value(t, a, "/u/out/weights") {
		square += float64(v) * float64(v) * 64 / 640
	}
	oracle.Near(t, "variance times fan-in of the last weights", square, 0.25, 4*0.25*math.Sqrt(2/640.))
	result, features := classify(t, a, c, images(3, 28*28), 28, 28)
	if len(features) != 3*64 || len(result) != 3*10 {
		t.Errorf("%d features and %d results of 3 images", len(features), len(result))
	}
	c = begin(c.At(a.Scope("/constant")), 1, 0, 0.75)
	constant, _ := classify(t, a, c, images(2, 28*28), 28, 28)
	for _, v := range constant {
		oracle.Near(t, "result with last = 0", v, 0.75, 0)
	}
}

func TestCNNTreatsImagesAlone(t *testing.T) {
	e := oracle.Open(t)
	c := begin(smallCNN(e), 1, 1, 0)
	randomize(t, e)
	const size = 7 * 6 * 2 // odd sizes are rounded up
	x := images(3, size)
	all, _ := classify(t, e, c, x, 7, 6)
	for i := range 3 {
		alone, _ := classify(t, e, c, x[i*size:(i+1)*size], 7, 6)
		for j, v := range alone {
			oracle.Near(t, fmt.Sprintf("image %d alone", i), v, float64(all[i*3+j]), 1e-4*(1+math.Abs(float64(v))))
		}
	}
}

// Every parameter's gradient against a difference in a random direction, in float64.
func TestCNNGradient(t *testing.T) {
	e := oracle.Open(t)
	c := begin(smallCNN(e), 1, 1, 0)
	randomize(t, e)
	parameters := variables(e, "/u")
	loss := func(x *graph.Node) *graph.Node {
		return graph.ReduceAllMean(graph.Square(graph.AddScalar(c.Apply(nil, x), -0.3)))
	}
	value, err := e.Compile(func(in []*graph.Node) []*graph.Node { return []*graph.Node{loss(in[0])} })
	if err != nil {
		t.Fatal(err)
	}
	gradient, err := e.Compile(func(in []*graph.Node) []*graph.Node {
		var nodes []*graph.Node
		for _, p := range parameters {
			nodes = append(nodes, p.NodeValue(in[0]))
		}
		return graph.Gradient(loss(in[0]), nodes...)
	})
	if err != nil {
		t.Fatal(err)
	}
	x := make([]float64, 2*4*4*2)
	for i, v := range images(2, 4*4*2) {
		x[i] = float64(v)
	}
	input := tensors.FromFlatDataAndDimensions(x, 2, 4, 4, 2)
	slopes, err := gradient.Run(input)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for i, p := range parameters {
		g := tensors.MustCopyFlatData[float32](slopes[i])
		start := tensors.MustCopyFlatData[float32](p.MustValue())
		up, down := slices.Clone(start), slices.Clone(start)
		var want, size float64
		for j := range start {
			h := float32(r.NormFloat64() / 4096)
			up[j] += h
			down[j] -= h
			want += float64(g[j]) * (float64(up[j]) - float64(down[j]))
			size += math.Abs(float64(g[j]))
		}
		at := func(v []float32) float64 {
			if err := p.SetValue(tensors.FromFlatDataAndDimensions(v, p.Shape().Dimensions...)); err != nil {
				t.Fatal(err)
			}
			out, err := value.Run(input)
			if err != nil {
				t.Fatal(err)
			}
			return tensors.ToScalar[float64](out[0])
		}
		got := at(up) - at(down)
		at(start)
		oracle.Near(t, "change of the loss with "+p.Path(), got, want, 1e-3*math.Abs(want)+1e-8)
		if size == 0 {
			t.Errorf("%s has no gradient: it is not used", p.Path())
		}
	}
}

// Rows and columns, wherever they are, under noise: a dense network of the mean pixels could not tell them apart.
func TestCNNLearns(t *testing.T) {
	train := func() (first, last float64, right int) {
		e := oracle.Open(t)
		c := begin(nn.CNN{Scope: e.Scope("/u"), In: 1, Out: 2, Width: 8}, 1, 0, 0)
		trainer, err := nn.NewTrainer(e, variables(e, "/u"), nn.Optimizer{LearningRate: 1e-2}, func(in []*graph.Node) *graph.Node {
			truth := graph.OneHot(in[1], 2, in[0].DType())
			return graph.Neg(graph.ReduceAllMean(graph.ReduceSum(graph.Mul(truth, graph.LogSoftmax(c.Apply(nil, in[0]), -1)), -1)))
		})
		if err != nil {
			t.Fatal(err)
		}
		const batch, side, steps = 16, 8, 30
		x, labels := make([]float32, batch*side*side), make([]int32, batch)
		draw := func(step int) {
			noise.New(9).Normal(x, uint64(step), 0)
			for i := range labels {
				labels[i] = int32(i % 2)
				at := (step + i/2) % side
				for k := range side {
					if labels[i] == 0 {
						x[(i*side+at)*side+k] += 3
					} else {
						x[(i*side+k)*side+at] += 3
					}
				}
			}
		}
		for step := range steps {
			draw(step)
			loss, err := trainer.Step(engine.Rows(x, side, side, 1), labels)
			if err != nil {
				t.Fatal(err)
			}
			if step < 5 {
				first += loss / 5
			}
			if step >= steps-5 {
				last += loss / 5
			}
		}
		draw(1000)
		scores, _ := classify(t, e, c, x, side, side)
		for i, label := range labels {
			if (scores[2*i+1] > scores[2*i]) == (label == 1) {
				right++
			}
		}
		return first, last, right
	}
	first, last, right := train()
	t.Logf("loss %.3g → %.3g, %d of 16 right", first, last, right)
	if !(last < 0.3*first) || right < 15 {
		t.Errorf("the loss went from %.3g to %.3g and %d of 16 are right, want less than 0.3 of it and 15", first, last, right)
	}
	if _, again, _ := train(); again != last {
		t.Errorf("the same training ends with %g and %g", last, again)
	}
}

func TestCNNErrors(t *testing.T) {
	for _, c := range []struct {
		c    nn.CNN
		x    []int
		want string
	}{
		{nn.CNN{In: 1, Out: 2, Width: 8}, []int{4, 4, 1}, ""},
		{nn.CNN{In: 1, Out: 2, Width: 12}, []int{4, 4, 1}, "Width 12: want positive numbers, the width a multiple of 8"},
		{nn.CNN{In: 0, Out: 2}, []int{4, 4, 1}, "In 0"},
		{nn.CNN{In: 1, Out: 2, Width: 8}, []int{4, 4, 3}, "want [batch, height, width, 1]"},
		{nn.CNN{In: 16, Out: 2, Width: 8}, []int{16}, "want [batch, height, width, 16]"},
	} {
		err := func() (err error) {
			defer func() {
				if r := recover(); r != nil {
					err = r.(error)
				}
			}()
			e := oracle.Open(t)
			c.c.Scope = e.Scope("/u")
			c.c.Init(noise.New(1), 1, 0)
			size := 1
			for _, d := range c.x {
				size *= d
			}
			program, err := e.Compile(func(in []*graph.Node) []*graph.Node { return []*graph.Node{c.c.Apply(nil, in[0])} })
			if err == nil {
				_, err = program.Run(engine.Rows(make([]float32, size), c.x...))
			}
			return err
		}()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v on %v: error %v, want one that says %q", c.c, c.x, err, c.want)
		}
	}
}
