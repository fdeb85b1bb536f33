package reward_test

import (
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
)

// measurements are operators with the shape of an image that is as odd as they allow.
var measurements = []struct {
	name  string
	image []int
}{
	{"average-2", []int{6, 10, 3}}, {"average-4", []int{12, 4, 1}}, {"average-3", []int{9, 3, 2}}, {"average-1", []int{5, 7, 1}},
	{"inpaint", []int{8, 8, 3}}, {"inpaint", []int{7, 5, 1}}, {"inpaint", []int{1, 4, 2}},
	{"blur", []int{9, 5, 3}}, {"blur-0.7", []int{3, 11, 1}}, {"blur-40", []int{1, 6, 2}},
}

func operator(t *testing.T, name string, image []int) (a reward.Operator, shape []int) {
	t.Helper()
	a, err := reward.NewOperator(name, image)
	if err != nil {
		t.Fatal(err)
	}
	if shape, err = a.Shape(image); err != nil {
		t.Fatal(err)
	}
	return a, shape
}

func normal(seed uint64, n int) []float32 {
	x := make([]float32, n)
	noise.New(seed).Normal(x, 0, 0)
	return x
}

func dot(x, y []float32) (sum float64) {
	for i, v := range x {
		sum += float64(v) * float64(y[i])
	}
	return sum
}

// measure is A in float64, written pixel by pixel from its definition.
func measure(name string, x []float32, image []int) []float64 {
	h, w, c := image[0], image[1], image[2]
	at := func(i, j, k int) float64 { return float64(x[(i*w+j)*c+k]) }
	var out []float64
	average := func(f int) {
		for i := range h / f {
			for j := range w / f {
				for k := range c {
					var sum float64
					for p := range f {
						for q := range f {
							sum += at(f*i+p, f*j+q, k)
						}
					}
					out = append(out, sum/float64(f*f))
				}
			}
		}
	}
	blur := func(sd float64) {
		for i := range h {
			for j := range w {
				for k := range c {
					var sum, weights float64
					for p := range h {
						for q := range w {
							weight := math.Exp(-(math.Pow(float64(i-p), 2) + math.Pow(float64(j-q), 2)) / (2 * sd * sd))
							sum, weights = sum+weight*at(p, q, k), weights+weight
						}
					}
					out = append(out, sum/weights)
				}
			}
		}
	}
	switch name {
	case "average-1", "average-2", "average-3", "average-4":
		average(int(name[len(name)-1] - '0'))
	case "blur":
		blur(1.5)
	case "blur-0.7":
		blur(0.7)
	case "blur-40":
		blur(40)
	case "inpaint":
		// The holes of the three shapes in measurements, written out.
		hole := map[int][4]int{8 * 8: {2, 6, 2, 6}, 7 * 5: {2, 5, 1, 3}, 1 * 4: {0, 0, 1, 3}}[h*w]
		for i := range h {
			for j := range w {
				for k := range c {
					if i >= hole[0] && i < hole[1] && j >= hole[2] && j < hole[3] {
						out = append(out, 0)
					} else {
						out = append(out, at(i, j, k))
					}
				}
			}
		}
	}
	return out
}

func TestOperators(t *testing.T) {
	const n = 3
	for _, backend := range oracle.Backends() {
		for _, m := range measurements {
			name := m.name + " on " + backend
			a, shape := operator(t, m.name, m.image)
			x, y := normal(1, n*engine.Size(m.image)), normal(2, n*engine.Size(shape))
			out := oracle.Run(t, backend, func(in []*graph.Node) []*graph.Node {
				ax := a.Measure(in[0])
				pulled := graph.Gradient(graph.ReduceAllSum(graph.Mul(ax, in[1])), in[0])[0]
				back := reward.Backproject(a, in[1])
				gray := reward.Backproject(a, a.Measure(graph.OnesLike(in[0])))
				return []*graph.Node{ax, a.Adjoint(in[1]), pulled, a.Measure(back), a.Measure(graph.OnesLike(in[0])), back, gray}
			}, engine.Rows(x, m.image...), engine.Rows(y, shape...))
			ax, aty, pulled, seen, one, back, gray := out[0], out[1], out[2], out[3], out[4], out[5], out[6]
			if len(ax) != len(y) || len(aty) != len(x) || len(back) != len(x) {
				t.Fatalf("%s: %d, %d, %d numbers, want %d, %d, %d", name, len(ax), len(aty), len(back), len(y), len(x), len(x))
			}
			d := engine.Size(m.image)
			for i := range n {
				want := measure(m.name, x[i*d:(i+1)*d], m.image)
				for k, v := range want {
					oracle.Near(t, name+": Ax", ax[i*len(want)+k], v, 2e-6)
				}
			}
			oracle.Near(t, name+": ⟨Ax, y⟩", dot(ax, y), dot(x, aty), 2e-5)
			for i, v := range aty {
				oracle.Near(t, name+": the gradient of ⟨Ax, y⟩", float64(pulled[i]), float64(v), 2e-6)
			}
			for i, v := range one {
				// Averages and blurs keep a constant image; in the hole there is nothing.
				if m.name == "inpaint" && v == 0 {
					y[i] = 0
					continue
				}
				oracle.Near(t, name+": A1", v, 1, 1e-6)
			}
			for i, v := range gray {
				if m.name == "inpaint" && aty[i] == 0 {
					oracle.Near(t, name+": a pixel that nobody saw", v, 0, 0)
					continue
				}
				oracle.Near(t, name+": the measurement of 1, projected back", float64(v), 1, 1e-5)
			}
			if m.name[:4] == "blur" {
				continue
			}
			for i, v := range y {
				oracle.Near(t, name+": what the image shown for y measures", seen[i], float64(v), 1e-6)
			}
		}
	}
}

func TestNewOperator(t *testing.T) {
	for name, want := range map[string]reward.Operator{
		"average-2": reward.Average{Factor: 2}, "average-4": reward.Average{Factor: 4}, "inpaint": reward.Inpaint{},
		"blur": reward.Blur{SD: 1.5}, "blur-2.25": reward.Blur{SD: 2.25},
	} {
		a, err := reward.NewOperator(name, []int{8, 12, 3})
		if err != nil || a != want {
			t.Errorf("%s is %#v, %v, want %#v", name, a, err, want)
		}
	}
	for _, name := range []string{"", "average", "average-", "average-2x", "inpaint-2", "blur-", "blur-x", "median-2"} {
		if _, err := reward.NewOperator(name, []int{8, 8, 3}); !errors.Is(err, reward.ErrUnknownOperator) {
			t.Errorf("%q: %v, want %v", name, err, reward.ErrUnknownOperator)
		}
	}
	for _, c := range []struct {
		name  string
		image []int
	}{
		{"average-2", []int{8, 7, 3}}, {"average-2", []int{7, 8, 3}}, {"average-0", []int{8, 8, 3}}, {"average--2", []int{8, 8, 3}},
		{"average-2", []int{8, 8}}, {"inpaint", []int{64}}, {"inpaint", []int{8, 0, 3}}, {"blur", nil}, {"blur-0", []int{8, 8, 3}},
		{"blur--1", []int{8, 8, 3}}, {"blur-NaN", []int{8, 8, 3}}, {"blur-Inf", []int{8, 8, 3}},
	} {
		if _, err := reward.NewOperator(c.name, c.image); err == nil || errors.Is(err, reward.ErrUnknownOperator) {
			t.Errorf("%s of images %v: %v, want an error about its shape or parameter", c.name, c.image, err)
		}
	}
	image := []int{8, 8, 3}
	if shape, err := (reward.Average{Factor: 4}).Shape(image); err != nil || !slices.Equal(shape, []int{2, 2, 3}) {
		t.Errorf("average-4 measures %v, %v, want [2 2 3]", shape, err)
	}
}
