package nn_test

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/gomlx/gomlx/ml/model"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
)

// begin creates the parameters of a network and returns it, of its own type.
func begin[N nn.Network](n N, seed uint64, last, bias float64) N {
	n.Init(noise.New(seed), last, bias)
	return n
}

// variables returns those below a path that can be trained, sorted by path.
func variables(e *engine.Engine, path string) []*model.Variable {
	return slices.DeleteFunc(nn.Sorted(slices.Collect(e.Scope(path).IterVariables())), func(v *model.Variable) bool { return !v.Trainable })
}

// value returns a parameter's numbers.
func value(t *testing.T, e *engine.Engine, path string) []float32 {
	t.Helper()
	v := e.Params.GetVariable(path)
	if v == nil {
		t.Fatalf("no parameter %s", path)
	}
	return tensors.MustCopyFlatData[float32](v.MustValue())
}

// dense is y = x·W + b on the host, with the parameters below path.
func dense(t *testing.T, e *engine.Engine, path string, x []float64) []float64 {
	w, b := value(t, e, path+"/weights"), value(t, e, path+"/bias")
	y := make([]float64, len(b))
	for j := range y {
		y[j] = float64(b[j])
		for i := range x {
			y[j] += x[i] * float64(w[i*len(b)+j])
		}
	}
	return y
}

// The architecture, layer by layer in float64: inputs joined by their octaves, y = SiLU(W·x + b [+ W_t·embedding]), residual
// from the second layer on.
func TestMLPAgainstHost(t *testing.T) {
	for _, c := range []struct {
		timed   bool
		octaves int
	}{{false, 0}, {true, 0}, {false, 3}, {true, 1}} {
		timed := c.timed
		e := oracle.Open(t)
		m := begin(nn.MLP{Scope: e.Scope("/h"), In: 3, Out: 2, Width: 8, Depth: 3, Timed: timed, Octaves: c.octaves}, 1, 1, 0.25)
		// Biases start at zero; make them tell.
		for _, path := range []string{"/h/hidden_0/bias", "/h/hidden_2/bias"} {
			if err := e.Params.GetVariable(path).SetValue(tensors.FromValue([]float32{1, 2, 3, 4, 5, 6, 7, 8})); err != nil {
				t.Fatal(err)
			}
		}
		x, times := []float32{0.1, -2, 1, 0, 3, -0.5}, []float32{0.2, 0.9}
		program, err := e.Compile(func(in []*graph.Node) []*graph.Node {
			var at *graph.Node
			if timed {
				at = in[1]
			}
			return []*graph.Node{m.Dense(at, in[0]), m.Features(at, in[0])}
		})
		if err != nil {
			t.Fatal(err)
		}
		out, err := program.Run(engine.Rows(x, 3), times)
		if err != nil {
			t.Fatal(err)
		}
		got, features := tensors.MustCopyFlatData[float32](out[0]), tensors.MustCopyFlatData[float32](out[1])
		for row := range 2 {
			h := []float64{float64(x[3*row]), float64(x[3*row+1]), float64(x[3*row+2])}
			inputs := h
			for k := range c.octaves {
				for _, wave := range []func(float64) float64{math.Sin, math.Cos} {
					for _, v := range inputs[:3] {
						h = append(h, wave(v*math.Pi/4*math.Pow(2, float64(k))))
					}
				}
			}
			embedding := make([]float64, nn.TimeFeatures)
			for j := range nn.TimeFeatures / 2 {
				phase := 1000 * float64(times[row]) * math.Pow(1e-4, float64(j)/float64(nn.TimeFeatures/2-1))
				embedding[j], embedding[nn.TimeFeatures/2+j] = math.Sin(phase), math.Cos(phase)
			}
			for i, layer := range []string{"/h/hidden_0", "/h/hidden_1", "/h/hidden_2"} {
				y := dense(t, e, layer, h)
				if timed {
					for j, v := range dense(t, e, layer+"/time", embedding) {
						y[j] += v
					}
				}
				for j := range y {
					y[j] /= 1 + math.Exp(-y[j])
					if i > 0 {
						y[j] += h[j]
					}
				}
				h = y
			}
			for j, want := range h {
				oracle.Near(t, "feature", features[8*row+j], want, 2e-3) // phases of 1000 in float32
			}
			for j, want := range dense(t, e, "/h/out", h) {
				oracle.Near(t, "output", got[2*row+j], want, 3e-3)
			}
		}
	}
}

// Weights N(0, 1/fan-in) by name and key, whatever else was created before.
func TestInit(t *testing.T) {
	shape := nn.MLP{In: 4, Out: 3, Width: 200, Depth: 2, Timed: true}
	create := func(e *engine.Engine, path string, seed uint64) {
		m := shape
		m.Scope = e.Scope(path)
		m.Init(noise.New(seed), 0.5, 0.02)
	}
	a, b := oracle.Open(t), oracle.Open(t)
	create(a, "/x", 1)
	create(a, "/h", 1)
	create(b, "/h", 1) // first here
	create(b, "/other/seed", 2)
	if !slices.Equal(value(t, a, "/h/hidden_1/weights"), value(t, b, "/h/hidden_1/weights")) {
		t.Error("weights depend on what was created before")
	}
	for _, other := range []string{"/x/hidden_1/weights", "/h/hidden_1/time/weights"} {
		if value(t, a, "/h/hidden_1/weights")[0] == value(t, a, other)[0] {
			t.Errorf("%s starts like /h/hidden_1/weights", other)
		}
	}
	if value(t, b, "/other/seed/out/weights")[0] == value(t, a, "/h/out/weights")[0] {
		t.Error("another seed gives the same weights")
	}
	for _, c := range []struct {
		path string
		sd   float64
	}{{"/h/hidden_0/weights", 0.5}, {"/h/hidden_1/weights", 1 / math.Sqrt(200)}, {"/h/hidden_0/time/weights", 1 / math.Sqrt(nn.TimeFeatures)},
		{"/h/out/weights", 0.5 / math.Sqrt(200)}} {
		w := value(t, a, c.path)
		var square float64
		for _, v := range w {
			square += float64(v) * float64(v) / float64(len(w))
		}
		oracle.Near(t, "sd of "+c.path, math.Sqrt(square), c.sd, 4*c.sd/math.Sqrt(2*float64(len(w))))
	}
	for _, v := range value(t, a, "/h/hidden_0/bias") {
		oracle.Near(t, "hidden bias", v, 0, 0)
	}
	for _, v := range value(t, a, "/h/out/bias") {
		oracle.Near(t, "last bias", v, float64(float32(0.02)), 0)
	}
}

func TestZeroLastLayerIsConstant(t *testing.T) {
	e := oracle.Open(t)
	m := begin(nn.MLP{Scope: e.Scope("/h"), In: 2, Out: 2, Width: 8, Depth: 2, Timed: true}, 1, 0, 0.3)
	program, err := e.Compile(func(in []*graph.Node) []*graph.Node { return []*graph.Node{m.Dense(in[1], in[0])} })
	if err != nil {
		t.Fatal(err)
	}
	out, err := program.Run(engine.Rows([]float32{1, 2, -30, 4}, 2), []float32{0.5}) // one time for all rows
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range tensors.MustCopyFlatData[float32](out[0]) {
		oracle.Near(t, "output", v, float64(float32(0.3)), 0)
	}
}

func TestMissingParameters(t *testing.T) {
	e := oracle.Open(t)
	m := nn.MLP{Scope: e.Scope("/h"), In: 2, Out: 2, Width: 8, Depth: 1}
	program, err := e.Compile(func(in []*graph.Node) []*graph.Node { return []*graph.Node{m.Dense(nil, in[0])} })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := program.Run(engine.Rows(make([]float32, 4), 2)); err == nil || !strings.Contains(err.Error(), "/h/hidden_0") {
		t.Errorf("error %v, want one that names the layer", err)
	}
}
