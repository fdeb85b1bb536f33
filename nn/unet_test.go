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

// tiny is a U-Net with every kind of layer, two blocks at the upper level, three at the lower, and attention at both.
func tiny(e *engine.Engine) nn.UNet {
	return nn.UNet{Scope: e.Scope("/u"), In: 2, Out: 3, Width: 4, Multipliers: []int{1, 2}, Blocks: 2, Bottom: 3, Attention: []int{0}, Heads: 2}
}

// randomize gives every parameter, also those that start at zero, numbers that tell.
func randomize(t *testing.T, e *engine.Engine) {
	t.Helper()
	r := rand.New(rand.NewPCG(5, 6))
	for _, p := range variables(e, "/u") {
		v := make([]float32, p.Shape().Size())
		for i := range v {
			v[i] = float32(0.5 * r.NormFloat64())
		}
		if err := p.SetValue(tensors.FromFlatDataAndDimensions(v, p.Shape().Dimensions...)); err != nil {
			t.Fatal(err)
		}
	}
}

// apply evaluates the network on images of two channels.
func apply(t *testing.T, e *engine.Engine, u nn.UNet, x []float32, height, width int, times ...float32) []float32 {
	t.Helper()
	program, err := e.Compile(func(in []*graph.Node) []*graph.Node { return []*graph.Node{u.Apply(in[1], in[0])} })
	if err != nil {
		t.Fatal(err)
	}
	out, err := program.Run(engine.Rows(x, height, width, 2), times)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := out[0].Shape().Dimensions, []int{len(x) / (height * width * 2), height, width, 3}; !slices.Equal(got, want) {
		t.Fatalf("dimensions %v, want %v", got, want)
	}
	return tensors.MustCopyFlatData[float32](out[0])
}

func images(n, size int) []float32 {
	x := make([]float32, n*size)
	noise.New(3).Normal(x, 0, 0)
	return x
}

// Images of a batch do not see one another, and one time for all is the same as a time for each.
func TestUNetTreatsImagesAlone(t *testing.T) {
	e := oracle.Open(t)
	u := begin(tiny(e), 1, 1, 0)
	randomize(t, e)
	const size, result = 4 * 6 * 2, 4 * 6 * 3
	x := images(3, size)
	all := apply(t, e, u, x, 4, 6, 0.1, 0.5, 0.9)
	for i, at := range []float32{0.1, 0.5, 0.9} {
		alone := apply(t, e, u, x[i*size:(i+1)*size], 4, 6, at)
		for j, v := range alone {
			oracle.Near(t, fmt.Sprintf("image %d alone", i), v, float64(all[i*result+j]), 1e-4)
		}
	}
	if same, each := apply(t, e, u, x, 4, 6, 0.3), apply(t, e, u, x, 4, 6, 0.3, 0.3, 0.3); !slices.Equal(same, each) {
		t.Error("one time for all images gives another result than that time for each")
	}
	if slices.Equal(all[:result], apply(t, e, u, x[:size], 4, 6, 0.2)) {
		t.Error("the result does not depend on the time")
	}
}

func TestUNetInit(t *testing.T) {
	a, b := oracle.Open(t), oracle.Open(t)
	b.Scope("/before").VariableWithValue("w", float32(1))
	u := tiny(a)
	for _, e := range []*engine.Engine{a, b} {
		at := tiny(e)
		at.Init(noise.New(7), 0.5, 0.25)
	}
	total := 0
	for _, p := range variables(a, "/u") {
		total += p.Shape().Size()
		v := value(t, a, p.Path())
		if !slices.Equal(v, value(t, b, p.Path())) {
			t.Errorf("%s depends on more than key and name", p.Path())
		}
		if strings.HasSuffix(p.Path(), "weights") {
			var square, fanIn float64 = 0, 1
			for _, d := range p.Shape().Dimensions[:p.Shape().Rank()-1] {
				fanIn *= float64(d)
			}
			for _, w := range v {
				square += float64(w) * float64(w) * fanIn / float64(len(v))
			}
			want := 1.0
			switch {
			case strings.HasSuffix(p.Path(), "conv_1/weights"), strings.Contains(p.Path(), "block_") && strings.Contains(p.Path(), "/norm_"), p.Path() == "/u/out/norm/weights", strings.Contains(p.Path(), "attention_") && strings.HasSuffix(p.Path(), "out/weights"):
				want = 0
			case p.Path() == "/u/out/conv/weights":
				want = 0.25
			}
			oracle.Near(t, "variance times fan-in of "+p.Path(), square, want, 4*want*math.Sqrt(2/float64(len(v))))
		}
	}
	if got := u.Size(); got != total {
		t.Errorf("Size is %d, but there are %d parameters", got, total)
	}
	if got := value(t, a, "/u/out/conv/bias"); !slices.Equal(got, []float32{0.25, 0.25, 0.25}) {
		t.Errorf("last bias %v, want 0.25", got)
	}
	if value(t, a, "/u/bottom/attention_0/norm/scale")[0] != 1 {
		t.Error("norms do not start at scale 1")
	}
	u = begin(tiny(b).At(b.Scope("/constant")), 1, 0, 0.75)
	for _, v := range apply(t, b, u, images(2, 4*4*2), 4, 4, 0.5) {
		oracle.Near(t, "output with last = 0", v, 0.75, 0)
	}
}

func TestUNetFLOPs(t *testing.T) {
	// One level: no resampling, no skips. 9·2·4 + (9·4·4)·2 + attention 4·4·4 products at 6·2 = 12 positions, 2·12·12·4 for
	// the pairs, 9·4·3 for the output; and once the embedding, 4·16 + 16·16, and three times 16·2·4.
	u := nn.UNet{In: 2, Out: 3, Width: 4, Multipliers: []int{1}}
	want := 2 * (12*(9*2*4+2*9*4*4+4*4*4+9*4*3) + 2*12*12*4 + 4*16 + 16*16 + 3*16*2*4)
	oracle.Near(t, "one level", u.FLOPs(6, 2), float64(want), 0)
	// The network of the benchmark, layer by layer at 28×28, 14×14 and 7×7 (two per product).
	reference := nn.UNet{In: 1, Out: 1, Width: 64}
	full, half, quarter := 28*28, 14*14, 7*7
	want = full*9*(64+2*64*64) + half*9*64*64 + half*(9*(64*128+128*128)+64*128) + quarter*9*128*128 + // down
		quarter*(9*(128*256+256*256)+128*256) + quarter*4*256*256 + 2*quarter*quarter*256 + // bottom
		half*(9*(256*128+256*128+128*128)+256*128) + full*(9*(128*64+128*64+64*64)+128*64) + full*9*64 + // up
		64*256 + 256*256 + 2*256*((64+64)+(64+128)+(128+256)+(256+128)+(128+64)+64) // time
	oracle.Near(t, "reference", reference.FLOPs(28, 28), 2*float64(want), 0)
}

// Every parameter's gradient against central differences. The parameters are float32, the network runs in float64, so
// that the difference of two losses is exact enough.
func TestUNetGradient(t *testing.T) {
	e := oracle.Open(t)
	u := begin(tiny(e), 1, 1, 0)
	randomize(t, e)
	parameters := variables(e, "/u")
	loss := func(x, times *graph.Node) *graph.Node {
		return graph.ReduceAllMean(graph.Square(graph.AddScalar(u.Apply(times, x), -0.3)))
	}
	value, err := e.Compile(func(in []*graph.Node) []*graph.Node { return []*graph.Node{loss(in[0], in[1])} })
	if err != nil {
		t.Fatal(err)
	}
	gradient, err := e.Compile(func(in []*graph.Node) []*graph.Node {
		nodes := []*graph.Node{in[0]}
		for _, p := range parameters {
			nodes = append(nodes, p.NodeValue(in[0]))
		}
		return graph.Gradient(loss(in[0], in[1]), nodes...)
	})
	if err != nil {
		t.Fatal(err)
	}
	x, times := make([]float64, 2*4*4*2), []float64{0.2, 0.7}
	for i, v := range images(2, 4*4*2) {
		x[i] = float64(v)
	}
	at := func() float64 {
		out, err := value.Run(tensors.FromFlatDataAndDimensions(x, 2, 4, 4, 2), times)
		if err != nil {
			t.Fatal(err)
		}
		return tensors.ToScalar[float64](out[0])
	}
	slopes, err := gradient.Run(tensors.FromFlatDataAndDimensions(x, 2, 4, 4, 2), times)
	if err != nil {
		t.Fatal(err)
	}
	for i, g := range tensors.MustCopyFlatData[float64](slopes[0]) {
		const h = 1e-5
		v := x[i]
		x[i] = v + h
		up := at()
		x[i] = v - h
		oracle.Near(t, fmt.Sprintf("gradient of pixel %d", i), g, (up-at())/(2*h), 1e-7)
		x[i] = v
	}
	r := rand.New(rand.NewPCG(1, 2))
	for i, p := range parameters {
		g := tensors.MustCopyFlatData[float32](slopes[1+i])
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
		set := func(v []float32) float64 {
			if err := p.SetValue(tensors.FromFlatDataAndDimensions(v, p.Shape().Dimensions...)); err != nil {
				t.Fatal(err)
			}
			return at()
		}
		got := set(up) - set(down)
		set(start)
		oracle.Near(t, "change of the loss with "+p.Path(), got, want, 1e-4*math.Abs(want)+1e-9)
		// Keys get no gradient from their bias: it adds the same number to all logits of a query.
		if size == 0 && !strings.HasSuffix(p.Path(), "key/bias") {
			t.Errorf("%s has no gradient: it is not used", p.Path())
		}
	}
}

// The network learns to move an image by one pixel, or not to, as the time says.
func TestUNetLearns(t *testing.T) {
	e := oracle.Open(t)
	u := begin(nn.UNet{Scope: e.Scope("/u"), In: 1, Out: 1, Width: 8, Multipliers: []int{1, 2}}, 1, 0, 0)
	trainer, err := nn.NewTrainer(e, variables(e, "/u"), nn.Optimizer{LearningRate: 1e-2}, func(in []*graph.Node) *graph.Node {
		return graph.ReduceAllMean(graph.Square(graph.Sub(u.Apply(in[1], in[0]), in[2])))
	})
	if err != nil {
		t.Fatal(err)
	}
	const batch, side = 8, 4
	x, target, times := make([]float32, batch*side*side), make([]float32, batch*side*side), make([]float32, batch)
	var first, last float64
	const steps = 60
	for step := range steps {
		noise.New(9).Normal(x, uint64(step), 0)
		for i := range target {
			image, column := i/(side*side), i%side
			times[image] = float32(image % 2)
			target[i] = 0
			if image%2 == 0 {
				target[i] = x[i]
			} else if column > 0 {
				target[i] = x[i-1]
			}
		}
		loss, err := trainer.Step(engine.Rows(x, side, side, 1), times, engine.Rows(target, side, side, 1))
		if err != nil {
			t.Fatal(err)
		}
		if step < 10 {
			first += loss / 10
		}
		if step >= steps-10 {
			last += loss / 10
		}
	}
	t.Logf("loss %.3g → %.3g", first, last)
	if !(last < 0.2*first) {
		t.Errorf("the loss fell from %.3g to %.3g in %d steps, want a fifth", first, last, steps)
	}
}

func TestUNetErrors(t *testing.T) {
	run := func(u nn.UNet, dims ...int) (err error) {
		e := oracle.Open(t)
		defer func() {
			if r := recover(); r != nil {
				err = r.(error)
			}
		}()
		u.Scope = e.Scope("/u")
		u = begin(u, 1, 1, 0)
		program, err := e.Compile(func(in []*graph.Node) []*graph.Node { return []*graph.Node{u.Apply(in[1], in[0])} })
		if err != nil {
			return err
		}
		_, err = program.Run(engine.Rows(make([]float32, dims[0]*dims[1]*dims[2]), dims...), []float32{0})
		return err
	}
	for _, c := range []struct {
		u    nn.UNet
		dims []int
		want string
	}{
		{nn.UNet{In: 1, Out: 1, Width: 4}, []int{28, 28, 1}, ""},
		{nn.UNet{In: 1, Out: 1, Width: 4}, []int{28, 30, 1}, "multiples of 4"},
		{nn.UNet{In: 1, Out: 1, Width: 4, Multipliers: []int{1, 1, 1, 1}}, []int{28, 28, 1}, "multiples of 8"},
		{nn.UNet{In: 1, Out: 1, Width: 4}, []int{28, 28, 2}, "[batch, height, width, 1]"},
		{nn.UNet{In: 1, Out: 1, Width: 5}, []int{4, 4, 1}, "width even"},
		{nn.UNet{In: 1, Out: 1, Width: 4, Multipliers: []int{}}, []int{4, 4, 1}, "Multipliers []"},
		{nn.UNet{In: 1, Out: 1, Width: 4, Groups: 3}, []int{4, 4, 1}, "Groups 3"},
		{nn.UNet{In: 1, Out: 1, Width: 4, Heads: 3}, []int{4, 4, 1}, "Heads 3"},
	} {
		if err := run(c.u, c.dims...); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v on %v: error %v, want one that says %q", c.u, c.dims, err, c.want)
		}
	}
}
