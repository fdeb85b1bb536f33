package sd

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/gomlx/gomlx/ml/model"

	"github.com/doob-diffusion/doob/internal/golden"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/lora"
	"github.com/doob-diffusion/doob/noise"
)

// A new adapter changes all maps of attention, by nothing, and A is of the law that PEFT draws from.
func TestNewLowRank(t *testing.T) {
	e := oracle.Open(t)
	f, err := Open(golden.Path("pipeline"))
	if err != nil {
		t.Fatal(err)
	}
	adapter, _, err := lora.Load(golden.Path("lora/peft"), lora.Model{UNet: f.UNet.Tensors()})
	if err != nil {
		t.Fatal(err)
	}
	l, err := NewLowRank(e.Scope("/h"), f.UNet.Tensors(), 4, AttentionMaps, noise.New(1))
	if err != nil {
		t.Fatal(err)
	}
	for _, module := range l.Modules {
		if _, ok := adapter.UNet[module]; !ok {
			t.Errorf("%s is changed, and by PEFT it is not", module)
		}
	}
	pairs, err := l.Pairs()
	if err != nil || len(pairs) != len(adapter.UNet) || len(l.Parameters()) != 2*len(pairs) {
		t.Fatal(len(pairs), len(adapter.UNet), err)
	}
	var drawn, squares float64
	values := map[float32]bool{}
	for module, p := range pairs {
		bound := 1 / math.Sqrt(float64(p.In))
		for _, a := range p.A {
			u := float64(a) / bound
			if !(math.Abs(u) <= 1) {
				t.Fatalf("%s: A has %g, want at most %g", module, a, bound)
			}
			values[a] = true
			drawn, squares = drawn+1, squares+u*u
		}
		if slices.ContainsFunc(p.B, func(b float32) bool { return b != 0 }) {
			t.Errorf("%s: B is not 0", module)
		}
	}
	oracle.Near(t, "E u²", squares/drawn, 1.0/3, 4*math.Sqrt(4.0/45/drawn)) // the variance of u² is 4/45
	if len(values) < int(0.99*drawn) {
		t.Errorf("%d different numbers of %g: modules share their noise", len(values), drawn)
	}
	again, err := NewLowRank(e.Scope("/other"), f.UNet.Tensors(), 4, []string{"attn2.to_k", "proj_in"}, noise.New(1))
	if err != nil {
		t.Fatal(err)
	}
	fewer, err := again.Pairs()
	if err != nil {
		t.Fatal(err)
	}
	for module, p := range fewer {
		if strings.HasSuffix(module, "proj_in") {
			if !p.Convolution {
				t.Errorf("%s is a convolution, which its files must say", module)
			}
		} else if !slices.Equal(p.A, pairs[module].A) || p.Convolution {
			t.Errorf("%s depends on the other modules", module)
		}
	}
	if len(fewer) != 14 {
		t.Errorf("%d modules, want 14", len(fewer))
	}
}

func TestLowRankErrors(t *testing.T) {
	e := oracle.Open(t)
	f, err := Open(golden.Path("pipeline"))
	if err != nil {
		t.Fatal(err)
	}
	network := f.UNet.Tensors()
	for _, c := range []struct {
		rank   int
		target string
		want   string
	}{{0, "to_q", "rank 0"}, {4, "to_x", `no module is named "to_x"`}, {4, "o_q", "no module"}, {4, "conv_in", "conv_in.weight has shape [8 4 3 3]"}} {
		_, err := NewLowRank(e.Scope("/h"), network, c.rank, []string{c.target}, noise.New(1))
		oracle.WantError(t, err, c.want)
	}
	_, err = LoadLowRank(e.Scope("/h"), network, nil)
	oracle.WantError(t, err, "changes no module")
	_, err = LoadLowRank(e.Scope("/h"), network, map[string]lora.Pair{"mid_block.attentions.0.transformer_blocks.0.attn1.to_q": {Rank: 1, In: 5, Out: 32}})
	oracle.WantError(t, err, "[32, 5]")
	// Averages that nobody has made are no parameters.
	l, err := NewLowRank(e.Scope("/h"), network, 1, []string{"to_q"}, noise.New(1))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if r, ok := recover().(error); !ok || !strings.Contains(r.Error(), "below /ema/h") {
			t.Errorf("panic %v", r)
		}
	}()
	l.Within(func(s *model.Scope) *model.Scope { return e.Scope("/ema" + s.Scope()) }).Parameters()
}

// Additions add up, whichever of them knows a module.
func TestAdding(t *testing.T) {
	constant := func(module string, value float64) func(string, *graph.Node) *graph.Node {
		return func(name string, x *graph.Node) *graph.Node {
			if name != module && module != "" {
				return nil
			}
			return graph.MulScalar(x, value)
		}
	}
	m := Modules{}.Adding(constant("a", 1)).Adding(constant("b", 10)).Adding(constant("a", 100))
	out := oracle.Run(t, "", func(in []*graph.Node) []*graph.Node {
		if m.Addition("c", in[0]) != nil {
			t.Error("an addition to c")
		}
		return []*graph.Node{m.Addition("a", in[0]), m.Addition("b", in[0]), m.Adding(constant("", 1000)).Addition("b", in[0])}
	}, tensors.FromScalar(float32(1)))
	for i, want := range []float64{101, 10, 1010} {
		oracle.Near(t, "addition", out[i][0], want, 0)
	}
}
