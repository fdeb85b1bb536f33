package sd

import (
	"testing"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/internal/golden"
	"github.com/doob-diffusion/doob/internal/oracle"
)

// The reference libraries' own float32 is 0.3 to 2e-6 of the largest entry off float64; gradients are sums of more.
const forward, backward = 1e-5, 1e-4

// goldens are the tensors of a file of testdata, as the reference libraries lay them out.
type goldens struct {
	t    testing.TB
	file string
	all  map[string]checkpoint.Tensor
}

func read(t testing.TB, file string) goldens {
	t.Helper()
	f, err := checkpoint.Load(golden.Path(file))
	if err != nil {
		t.Fatal(err)
	}
	return goldens{t, file, f.Tensors}
}

func (g goldens) get(name string) checkpoint.Tensor {
	g.t.Helper()
	x, ok := g.all[name]
	if !ok {
		g.t.Fatalf("%s has no %s", g.file, name)
	}
	return x
}

// input returns a tensor as it is.
func (g goldens) input(name string) *tensors.Tensor {
	g.t.Helper()
	x := g.get(name)
	if x.I64 != nil {
		return tensors.FromFlatDataAndDimensions(x.I64, x.Shape...)
	}
	return tensors.FromFlatDataAndDimensions(x.F32, x.Shape...)
}

// values returns a tensor's numbers, of pictures [batch, channels, height, width] with the channels last.
func (g goldens) values(name string) []float32 {
	g.t.Helper()
	x := g.get(name)
	if len(x.Shape) != 4 {
		return x.F32
	}
	var y []float32
	for b := range x.Shape[0] {
		for p := range x.Shape[2] * x.Shape[3] {
			for c := range x.Shape[1] {
				y = append(y, x.F32[(b*x.Shape[1]+c)*x.Shape[2]*x.Shape[3]+p])
			}
		}
	}
	return y
}

// pictures returns [batch, channels, height, width] with the channels last.
func (g goldens) pictures(name string) *tensors.Tensor {
	g.t.Helper()
	d := g.get(name).Shape
	return tensors.FromFlatDataAndDimensions(g.values(name), d[0], d[2], d[3], d[1])
}

// weights returns the gradient of a parameter in the layout that the network has it in.
func (g goldens) weights(name string) []float32 {
	g.t.Helper()
	x := g.get(name)
	out, kernel := 0, 1
	if len(x.Shape) == 4 {
		out, kernel = x.Shape[0], x.Shape[2]*x.Shape[3]
	}
	moved := make([]float32, len(x.F32))
	arrange(moved, x.F32, out, kernel)
	return moved
}

// backends lists those that networks are tested on.
var backends = oracle.Backends

// onBackends runs a test on all backends of this build, with the tiny model.
func onBackends(t *testing.T, test func(t *testing.T, e *engine.Engine, f *Folder)) {
	for _, backend := range backends() {
		t.Run(backend, func(t *testing.T) {
			f, err := Open(golden.Path("pipeline"))
			if err != nil {
				t.Fatal(err)
			}
			test(t, oracle.OpenOn(t, backend), f)
		})
	}
}

// loaded reads a network's weights into an engine.
func loaded(t testing.TB, e *engine.Engine, want func(string) bool, open func() (*Weights, error)) Modules {
	t.Helper()
	w, err := open()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	m, err := w.Load(e.Scope("/model"), want)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// dot returns Σ a·b.
func dot(a, b *graph.Node) *graph.Node { return graph.ReduceAllSum(graph.Mul(a, b)) }

// squared returns the mean of (a − b)².
func squared(a, b *graph.Node) *graph.Node { return graph.ReduceAllMean(graph.Square(graph.Sub(a, b))) }
