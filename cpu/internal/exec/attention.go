package exec

import (
	"strings"

	"github.com/doob-diffusion/doob/cpu/internal/attention"
	"github.com/doob-diffusion/doob/cpu/internal/plan"
)

// attention binds attention, causal_attention or biased_attention of q [B, S, heads, D], k and v [B, T, heads, D] and the bias
// [B, T] of the last.
func (i *Instance) attention(op plan.Named, s *plan.Step, in, out func(int) []float32) (func() error, error) {
	a, bias, err := prepareAttention(op, 0)
	if err != nil {
		return nil, err
	}
	return func() error {
		var b []float32
		if bias {
			b = in(3)
		}
		var sums []float32
		if len(s.Out) > 1 {
			sums = out(1)
		}
		a.Forward(i.ctx, out(0), sums, in(0), in(1), in(2), b)
		return nil
	}, nil
}

// attentionGradient binds the gradient, which takes dy and y before the others, and after them the log-sums if the plan found them.
func (i *Instance) attentionGradient(op plan.Named, s *plan.Step, in, out func(int) []float32) (func() error, error) {
	a, bias, err := prepareAttention(op, 2)
	if err != nil {
		return nil, err
	}
	return func() error {
		var b, db []float32
		if bias {
			b, db = in(5), out(3)
		}
		var sums []float32
		if len(s.In) > len(op.In) {
			sums = in(len(op.In))
		}
		a.Backward(i.ctx, out(0), out(1), out(2), db, in(0), in(1), sums, in(2), in(3), in(4), b)
		return nil
	}, nil
}

// prepareAttention prepares one whose q is the given operand.
func prepareAttention(op plan.Named, first int) (a *attention.Attention, bias bool, err error) {
	q, k := op.In[first], op.In[first+1]
	bias = strings.HasPrefix(op.Name, "biased")
	a, err = attention.Prepare(attention.Spec{Batch: q[0], Queries: q[1], Keys: k[1], Heads: q[2], Dim: q[3],
		Causal: strings.HasPrefix(op.Name, "causal"), Biased: bias})
	return a, bias, err
}
