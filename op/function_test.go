package op_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/op"
)

// build returns the error of building and running a graph function of one input [2, 4, 4, 8].
func build(t *testing.T, fn func(x *graph.Node) *graph.Node) error {
	t.Helper()
	program, err := oracle.Open(t).Compile(func(in []*graph.Node) []*graph.Node { return []*graph.Node{fn(in[0])} })
	if err != nil {
		t.Fatal(err)
	}
	_, err = program.Run(engine.Rows(make([]float32, 2*4*4*8), 4, 4, 8))
	return err
}

// Backends parse these names: op, attributes in this order, serial number. Calls with equal attributes and shapes share
// a function.
func TestNames(t *testing.T) {
	calls := regexp.MustCompile(`Call\((\w+),`)
	err := build(t, func(x *graph.Node) *graph.Node {
		g := x.Graph()
		vector := graph.Ones(g, graph.ReduceSum(x, 0, 1, 2).Shape())
		images := graph.ReduceSum(x, 1, 2)
		weights := graph.BroadcastToDims(graph.Reshape(vector, 1, 1, 8, 1), 2, 2, 8, 8)
		scalar := graph.ScalarOne(g, x.DType())
		p, _, _ := op.AdamW(vector, vector, vector, vector, scalar, scalar, scalar, scalar, 0.5, 0.25, 1e-8, 0)
		for _, c := range []struct {
			node *graph.Node
			want string
		}{
			{op.SiLU(x), "silu__n1"}, // the first function is AdamW's
			{op.GroupNorm(x, images, images, 4, 1e-5, true), "group_norm__g4__e3727c5ac__s1__n2"},
			{op.GroupNorm(x, vector, vector, 4, 1e-5, true), "group_norm__g4__e3727c5ac__s1__n3"},
			{op.GroupNorm(x, vector, vector, 8, 0.5, false), "group_norm__g8__e3f000000__s0__n4"},
			{op.SiLU(op.SiLU(x)), "silu__n1"},
			{op.SiLU(vector), "silu__n5"},
			{op.Conv(x, weights, nil, 2, op.Padding{{1, 0}, {2, 3}}), "differentiated__convolution__s2__t1__b0__l2__r3__n6"},
			{op.Upsample(x, 2), "upsample__f2__n7"},
			{op.Attention(x, x, x), "attention__n8"},
			{op.Softmax(x), "softmax__n9"},
			{op.EMA(vector, vector, scalar), "ema__n10"},
			{op.GlobalNorm([]*graph.Node{x, vector}).Inputs()[0], "sum_squares__n11"},
			{op.LayerNorm(x, vector, vector, 1e-5), "layer_norm__e3727c5ac__n12"},
			{op.GELU(x), "gelu__n13"},
			{op.QuickGELU(x), "quick_gelu__n14"},
			{op.GEGLU(x), "geglu__n15"},
			{op.CausalAttention(x, x, x), "causal_attention__n16"},
			{op.BiasedAttention(x, x, x, graph.ReduceSum(x, 2, 3)), "biased_attention__n17"},
			{p.Inputs()[0], "adamw__p3f000000__q3e800000__e322bcc77__w00000000__n0"},
		} {
			if match := calls.FindStringSubmatch(c.node.String()); match == nil || match[1] != c.want {
				t.Errorf("%s calls %v, want %s", c.node, match, c.want)
			}
		}
		return x
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestErrors(t *testing.T) {
	vector := func(x *graph.Node) *graph.Node { return graph.ReduceSum(x, 0, 1, 2) }
	for _, c := range []struct {
		want string
		fn   func(x *graph.Node) *graph.Node
	}{
		{`no gradient for a call of "foreign"`, func(x *graph.Node) *graph.Node {
			f := graph.NewFunction(x.Graph(), "foreign", func(g *graph.Graph) []*graph.Node {
				return []*graph.Node{graph.Neg(graph.Parameter(g, "x", x.Shape()))}
			})
			return graph.Gradient(graph.ReduceAllSum(f.Call(x)[0]), x)[0]
		}},
		{"want [channels] or [batch, channels] for both", func(x *graph.Node) *graph.Node {
			return op.GroupNorm(x, vector(x), graph.ReduceSum(x, 1, 2), 4, 1e-5, true)
		}},
		{"divide the 8 channels", func(x *graph.Node) *graph.Node { return op.GroupNorm(x, vector(x), vector(x), 3, 1e-5, true) }},
		{"[rows, columns, in, out]", func(x *graph.Node) *graph.Node { return op.Conv(x, vector(x), nil, 1, op.Same(3)) }},
		{"positive stride", func(x *graph.Node) *graph.Node {
			return op.Conv(x, graph.Reshape(vector(x), 1, 1, 8, 1), nil, 0, op.Same(1))
		}},
		{"no negative padding", func(x *graph.Node) *graph.Node {
			return op.Conv(x, graph.Reshape(vector(x), 1, 1, 8, 1), nil, 1, op.Padding{{-1, 0}, {0, 0}})
		}},
		{"want [8] for both", func(x *graph.Node) *graph.Node { return op.LayerNorm(x, vector(x), graph.ReduceSum(x, 0, 1, 3), 1e-5) }},
		{"even last axis", func(x *graph.Node) *graph.Node { return op.GEGLU(graph.SliceAxis(x, -1, graph.AxisRange(0, 7))) }},
		{"as many keys as queries", func(x *graph.Node) *graph.Node {
			return op.CausalAttention(graph.SliceAxis(x, 1, graph.AxisRange(0, 3)), x, x)
		}},
		{"[batch, keys]", func(x *graph.Node) *graph.Node { return op.BiasedAttention(x, x, x, graph.ReduceSum(x, 1, 2)) }},
		{"[batch, keys, heads, dim]", func(x *graph.Node) *graph.Node { return op.Attention(x, x, graph.Reshape(x, 2, 4, 8, 4)) }},
	} {
		if err := build(t, c.fn); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want one that says %q", err, c.want)
		}
	}
}
