package main

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/op"
)

// attending is a way to compute attention from q, k, v [batch, tokens, heads, dim].
type attending func(q, k, v *graph.Node) *graph.Node

// flash is the tensor library's flash attention, in bfloat16: doob does not use it. It has the shape of the scores from the query alone, so whether it is
// right where there are other keys than queries, as in attention to a text, is to be found out.
func flash(q, k, v *graph.Node) *graph.Node {
	half := func(x *graph.Node) *graph.Node { return graph.ConvertDType(x, dtypes.BFloat16) }
	y, _ := graph.BackendFusedScaledDotProductAttention(half(q), half(k), half(v), compute.AttentionAxesLayoutBSHD, nil)
	return graph.ConvertDType(y, dtypes.Float32)
}

// attention compares doob's attention and flash attention, forward and gradients, with that of package cpu, at the shapes of Stable Diffusion 1.5:
// attention of pictures to themselves and to the 77 tokens of a text. All shapes are tried, whatever fails.
func (o options) attention() error {
	const batch, heads, tokens = 2, 8, 77
	reference, err := engine.Open(engine.Default)
	if err != nil {
		return err
	}
	device, err := engine.Open(o.backend)
	if err != nil {
		return err
	}
	var errs []error
	for _, s := range []struct{ queries, dim int }{{o.size(4096, 64), 40}, {o.size(1024, 32), 80}, {o.size(256, 16), 160}} {
		for _, keys := range []int{s.queries, tokens} {
			name := fmt.Sprintf("%d to %d × %d", s.queries, keys, s.dim)
			inputs := func() []any { // which belong to the backend that sees them first
				return []any{
					numbers(1, batch, s.queries, heads, s.dim), numbers(2, batch, keys, heads, s.dim), numbers(3, batch, keys, heads, s.dim),
					numbers(4, batch, s.queries, heads, s.dim),
				}
			}
			want, err := attend(reference, "", op.Attention, inputs())
			if err != nil {
				return err
			}
			for _, way := range []struct {
				name      string
				fn        attending
				tolerance float64
			}{{"doob", op.Attention, o.tolerance()}, {"flash", flash, 3e-2}} { // bfloat16 has 8 significant bits
				got, err := attend(device, way.name+" "+name, way.fn, inputs())
				if way.name == "flash" && errors.Is(err, compute.ErrNotImplemented) {
					fmt.Printf("           flash %s: this backend has none\n", name)
					continue
				}
				if err != nil {
					errs = append(errs, fmt.Errorf("%s %s: %w", way.name, name, err))
					continue
				}
				var parts [4]float64
				for i, what := range []string{"values", "gradient of q", "gradient of k", "gradient of v"} {
					parts[i] = off(got[i], want[i])
					errs = append(errs, within(fmt.Sprintf("%s %s, %s", way.name, name, what), parts[i], way.tolerance))
				}
				fmt.Printf("           %s %s: values and gradients of q, k, v off by %.0e of their largest entries\n", way.name, name, parts)
			}
		}
	}
	return errors.Join(errs...)
}

// attend returns the values, and the gradients of q, k and v for that of the values, the last input. With a name it tells how long that takes.
func attend(e *engine.Engine, name string, fn attending, in []any) ([][]float32, error) {
	program, err := e.Compile(func(in []*graph.Node) []*graph.Node {
		y := fn(in[0], in[1], in[2])
		return append([]*graph.Node{y}, graph.Gradient(graph.ReduceAllSum(graph.Mul(y, in[3])), in[:3]...)...)
	})
	if err != nil {
		return nil, err
	}
	var values [][]float32
	run := func() error {
		out, err := program.Run(in...)
		if err != nil {
			return err
		}
		values = nil
		for _, t := range out {
			v := make([]float32, t.Size())
			if err := engine.Floats(v, t); err != nil {
				return err
			}
			values = append(values, v)
		}
		return nil
	}
	start := time.Now()
	if err := run(); err != nil || name == "" {
		return values, err
	}
	say(start, "%s, forward and gradients, compiled and run", name)
	return values, timed("the same, with copies to this machine", run)
}

// numbers are a tensor of values that bfloat16 has, from −2 to 2.
func numbers(seed uint64, dims ...int) *tensors.Tensor {
	v := make([]float32, engine.Size(dims))
	x := seed
	for i := range v {
		x = x*6364136223846793005 + 1442695040888963407
		v[i] = float32(math.Round(float64(int32(x>>32))*0x1p-24)) * 0x1p-6
	}
	return tensors.FromFlatDataAndDimensions(v, dims...)
}
