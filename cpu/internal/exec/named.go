package exec

import (
	"fmt"
	"slices"

	"github.com/doob-diffusion/doob/cpu/internal/plan"
	"github.com/doob-diffusion/doob/cpu/internal/vec"
)

// kernels are the named functions that have a kernel, all in float32.
var kernels = []string{"adamw", "attention", "attention_grad", "biased_attention", "biased_attention_grad", "causal_attention",
	"causal_attention_grad", "ema", "geglu", "geglu_grad", "gelu", "gelu_grad", "group_norm", "group_norm_grad", "layer_norm",
	"layer_norm_grad", "quick_gelu", "quick_gelu_grad", "silu", "silu_grad", "softmax", "softmax_grad", "sum_squares", "upsample",
	"upsample_grad"}

// Knows reports whether a named function has a kernel.
func Knows(name string) bool { return slices.Contains(kernels, name) }

// named binds a call of a named function.
func (i *Instance) named(op plan.Named, s *plan.Step) (func() error, error) {
	ins, outs := i.slotsOf(s.In), i.slotsOf(s.Out)
	in := func(k int) []float32 { return i.memory[ins[k]].F32 }
	out := func(k int) []float32 { return i.memory[outs[k]].F32 }
	switch op.Name {
	case "group_norm", "group_norm_grad":
		return i.groupNorm(op, in, out)
	case "softmax", "softmax_grad":
		dims := op.Out[0]
		width := dims[len(dims)-1]
		f, err := vec.PrepareSoftmax(s.Out[0].Size()/max(width, 1), width)
		if err != nil {
			return nil, err
		}
		if op.Name == "softmax" {
			return func() error { f.Forward(i.ctx, out(0), in(0)); return nil }, nil
		}
		return func() error { f.Backward(i.ctx, out(0), in(0), in(1)); return nil }, nil
	case "attention", "causal_attention", "biased_attention":
		return i.attention(op, s, in, out)
	case "attention_grad", "causal_attention_grad", "biased_attention_grad":
		return i.attentionGradient(op, s, in, out)
	case "layer_norm", "layer_norm_grad":
		return i.layerNorm(op, in, out)
	case "geglu", "geglu_grad":
		return i.geglu(op, in, out)
	case "upsample", "upsample_grad":
		x := op.In[0]
		if op.Name == "upsample_grad" {
			x = op.Out[0]
		}
		f, err := vec.PrepareUpsample(vec.UpsampleSpec{Batch: x[0], Height: x[1], Width: x[2], Channels: x[3], Factor: op.Ints["f"]})
		if err != nil {
			return nil, err
		}
		if op.Name == "upsample" {
			return func() error { f.Forward(i.ctx, out(0), in(0)); return nil }, nil
		}
		return func() error { f.Backward(i.ctx, out(0), in(0)); return nil }, nil
	case "adamw":
		f, err := vec.PrepareAdamW(vec.AdamWSpec{Size: s.Out[0].Size(), Beta1: op.Floats["p"], Beta2: op.Floats["q"],
			Epsilon: op.Floats["e"], Decay: op.Floats["w"]})
		if err != nil {
			return nil, err
		}
		return func() error {
			// A gradient without a size, after a loss that is not finite, leaves everything as it was.
			if !(in(7)[0] > 0) {
				copy(out(0), in(0))
				copy(out(1), in(2))
				copy(out(2), in(3))
				return nil
			}
			f.Step(i.ctx, out(0), out(1), out(2), in(0), in(1), in(2), in(3), in(4)[0], in(5)[0], in(6)[0], in(7)[0])
			return nil
		}, nil
	case "ema":
		f, err := vec.PrepareEMA(s.Out[0].Size())
		if err != nil {
			return nil, err
		}
		return func() error { f.Step(i.ctx, out(0), in(0), in(1), in(2)[0]); return nil }, nil
	case "sum_squares":
		var sizes []int
		for _, v := range s.In {
			sizes = append(sizes, v.Size())
		}
		f, err := vec.PrepareSumSquares(sizes...)
		if err != nil {
			return nil, err
		}
		tensors := make([][]float32, len(s.In))
		return func() error {
			for k := range tensors {
				tensors[k] = in(k)
			}
			out(0)[0] = float32(f.Run(i.ctx, tensors))
			return nil
		}, nil
	}
	return nil, fmt.Errorf("no kernel for the function %q", op.Name)
}

func (i *Instance) groupNorm(op plan.Named, in, out func(int) []float32) (func() error, error) {
	grad := op.Name == "group_norm_grad"
	x := op.In[0]
	if grad {
		x = op.In[1]
	}
	channels := x[len(x)-1]
	spatial := 1
	for _, d := range x[1 : len(x)-1] {
		spatial *= d
	}
	bias := op.In[len(op.In)-1]
	f, err := vec.PrepareGroupNorm(vec.GroupNormSpec{Batch: x[0], Spatial: spatial, Channels: channels,
		Groups: op.Ints["g"], Epsilon: op.Floats["e"], SiLU: op.Ints["s"] == 1, Adaptive: len(bias) == 2})
	if err != nil {
		return nil, err
	}
	return func() error {
		if grad {
			f.Backward(i.ctx, out(0), out(1), out(2), in(0), in(1), in(2), in(3))
		} else {
			f.Forward(i.ctx, out(0), in(0), in(1), in(2))
		}
		return nil
	}, nil
}
