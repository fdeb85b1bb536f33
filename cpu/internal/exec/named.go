package exec

import (
	"fmt"
	"math"
	"slices"

	"github.com/doob-diffusion/doob/cpu/internal/gemm"
	"github.com/doob-diffusion/doob/cpu/internal/kern"
	"github.com/doob-diffusion/doob/cpu/internal/plan"
	"github.com/doob-diffusion/doob/cpu/internal/vec"
)

// kernels are the named functions that have a kernel, all in float32.
var kernels = []string{"adamw", "attention", "attention_grad", "ema", "group_norm", "group_norm_grad", "silu", "silu_grad",
	"softmax", "softmax_grad", "sum_squares", "upsample", "upsample_grad"}

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
	case "attention", "attention_grad":
		return i.attention(op, in, out)
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

// attention binds softmax(q·kᵀ/√D)·v per image and head, for q [B, S, heads, D] and k, v [B, T, heads, D], and its
// gradient, which computes the softmax again.
func (i *Instance) attention(op plan.Named, in, out func(int) []float32) (func() error, error) {
	grad := op.Name == "attention_grad"
	q, k := op.In[0], op.In[1]
	if grad {
		q, k = op.In[1], op.In[2]
	}
	B, S, H, D, T := q[0], q[1], q[2], q[3], k[1]
	if B*S*H*D*T == 0 {
		return nil, fmt.Errorf("attention of %v with %v: empty", q, k)
	}
	var failed error
	prepare := func(spec gemm.Spec) *gemm.Gemm {
		g, err := gemm.Prepare(spec)
		if err != nil {
			failed = err
		}
		return g
	}
	// Heads are columns of q, k, v and y; the weights are [B, H, S, T].
	axes := func(a, b, c [2]int) []gemm.Axis {
		return []gemm.Axis{{Size: B, A: a[0], B: b[0], C: c[0]}, {Size: H, A: a[1], B: b[1], C: c[1]}}
	}
	long, short, square := [2]int{S * H * D, D}, [2]int{T * H * D, D}, [2]int{H * S * T, S * T}
	scores := prepare(gemm.Spec{M: S, N: T, K: D, TransB: true, LDA: H * D, LDB: H * D, Batch: axes(long, short, square)})
	mixed := prepare(gemm.Spec{M: S, N: D, K: T, LDB: H * D, LDC: H * D, Batch: axes(square, short, long)})
	turned := prepare(gemm.Spec{M: T, N: D, K: S, TransA: true, LDB: H * D, LDC: H * D, Batch: axes(square, long, short)})
	soft, err := vec.PrepareSoftmax(B*H*S, T)
	if err != nil {
		return nil, err
	}
	soft.Scale = float32(1 / math.Sqrt(float64(D)))
	weights := kern.Aligned(B * H * S * T)
	forward := func(q, k []float32) {
		scores.Run(i.ctx, weights, q, k, nil, nil)
		soft.Forward(i.ctx, weights, weights)
	}
	if !grad {
		return func() error {
			forward(in(0), in(1))
			mixed.Run(i.ctx, out(0), weights, in(2), nil, nil)
			return nil
		}, failed
	}
	dweights := kern.Aligned(B * H * S * T)
	return func() error {
		dy, q, k, v := in(0), in(1), in(2), in(3)
		forward(q, k)
		turned.Run(i.ctx, out(2), weights, dy, nil, nil) // dv = weightsᵀ·dy
		scores.Run(i.ctx, dweights, dy, v, nil, nil)     // dy·vᵀ
		soft.Backward(i.ctx, dweights, dweights, weights)
		mixed.Run(i.ctx, out(0), dweights, k, nil, nil)  // dq = dscores·k
		turned.Run(i.ctx, out(1), dweights, q, nil, nil) // dk = dscoresᵀ·q
		return nil
	}, failed
}
