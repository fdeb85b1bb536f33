package cpu

import (
	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"

	"github.com/doob-diffusion/doob/cpu/internal/plan"
)

// This file records the fused operations. A dense layer is taken apart into operations that have kernels; those that
// autodiff records for its gradient are then the same ones and run once. The others are left to the stock backend.

func (f *function) FusedSoftmax(x val, axis int) (val, error) {
	return f.add(compute.OpTypeFusedSoftmax, plan.Softmax(axis), []val{x}, func(g fn, in []val) (val, error) { return g.FusedSoftmax(in[0], axis) })
}

func (f *function) FusedGelu(x val, exact bool) (val, error) {
	return f.add(compute.OpTypeFusedGelu, nil, []val{x}, func(g fn, in []val) (val, error) { return g.FusedGelu(in[0], exact) })
}

// optional appends the values that are not nil to in, and returns a function that finds them again among operands.
func optional(in []val, values ...val) ([]val, func(operands []val, k int) val) {
	at := make([]int, len(values))
	for k, v := range values {
		if v != nil {
			at[k] = len(in)
			in = append(in, v)
		}
	}
	return in, func(operands []val, k int) val {
		if values[k] == nil {
			return nil
		}
		return operands[at[k]]
	}
}

func (f *function) FusedLayerNorm(x val, axes []int, epsilon float64, gamma, beta val) (val, error) {
	in, get := optional([]val{x}, gamma, beta)
	return f.add(compute.OpTypeFusedLayerNorm, nil, in, func(g fn, in []val) (val, error) {
		return g.FusedLayerNorm(in[0], axes, epsilon, get(in, 0), get(in, 1))
	})
}

func (f *function) FusedDense(x, weight, bias val, config compute.DenseConfig) (val, error) {
	in, get := optional([]val{x, weight}, bias)
	values, shadows, err := f.operands(in)
	if err != nil {
		return nil, err
	}
	rank := values[0].shape.Rank()
	if values[0].shape.DType != dtypes.Float32 || values[1].shape.DType != dtypes.Float32 || values[1].shape.Rank() != 2 || rank < 1 || config.Activation != compute.ActivationNone {
		return f.add(compute.OpTypeFusedDense, nil, in, func(g fn, in []val) (val, error) {
			return g.FusedDense(in[0], in[1], get(in, 0), config)
		})
	}
	// The shadow validates; its node is used by nobody.
	var shadowBias val
	if bias != nil {
		shadowBias = shadows[2]
	}
	if _, err := f.shadow.FusedDense(shadows[0], shadows[1], shadowBias, config); err != nil {
		return nil, err
	}
	contracted := 0
	if config.WeightLayout == compute.DenseLayoutOutputsInput {
		contracted = 1
	}
	y, err := f.DotGeneral(x, []int{rank - 1}, nil, weight, []int{contracted}, nil, compute.DotGeneralConfig{})
	if err != nil || bias == nil {
		return y, err
	}
	b, err := f.BroadcastInDim(bias, y.(*value).shape, []int{rank - 1})
	if err != nil {
		return nil, err
	}
	return f.Add(y, b)
}

// attend lists the operands of an attention and returns the options with others in their place.
func attend(in []val, o *compute.ScaledDotProductAttentionConfig) ([]val, func(operands []val) *compute.ScaledDotProductAttentionConfig) {
	if o == nil {
		return in, func([]val) *compute.ScaledDotProductAttentionConfig { return nil }
	}
	in, get := optional(in, o.QuerySeqLen, o.KeyValueSeqLen, o.Bias, o.Mask)
	return in, func(operands []val) *compute.ScaledDotProductAttentionConfig {
		c := *o
		c.QuerySeqLen, c.KeyValueSeqLen, c.Bias, c.Mask = get(operands, 0), get(operands, 1), get(operands, 2), get(operands, 3)
		return &c
	}
}

func (f *function) FusedScaledDotProductAttention(query, key, v val, layout compute.AttentionAxesLayout, options *compute.ScaledDotProductAttentionConfig) (val, []val, error) {
	in, config := attend([]val{query, key, v}, options)
	out, err := f.addMany(compute.OpTypeFusedScaledDotProductAttention, nil, in, nil, func(g fn, in []val, _ []fn) ([]val, error) {
		y, states, err := g.FusedScaledDotProductAttention(in[0], in[1], in[2], layout, config(in))
		return append([]val{y}, states...), err
	})
	if err != nil {
		return nil, nil, err
	}
	return out[0], out[1:], nil
}

func (f *function) FusedScaledDotProductAttentionVJP(query, key, v val, layout compute.AttentionAxesLayout, options *compute.ScaledDotProductAttentionConfig, output val, states []val, dOutput val) (dQuery, dKey, dValue val, err error) {
	in := append([]val{query, key, v, output, dOutput}, states...)
	n := len(in)
	in, config := attend(in, options)
	return three(f.addMany(compute.OpTypeFusedScaledDotProductAttentionVJP, nil, in, nil, func(g fn, in []val, _ []fn) ([]val, error) {
		a, b, c, err := g.FusedScaledDotProductAttentionVJP(in[0], in[1], in[2], layout, config(in), in[3], in[5:n], in[4])
		return []val{a, b, c}, err
	}))
}

// requantized returns a quantization with other operands.
func requantized(q *compute.Quantization, get func([]val, int) val, operands []val, first int) *compute.Quantization {
	if q == nil {
		return nil
	}
	c := *q
	c.Scale, c.ZeroPoint = get(operands, first), get(operands, first+1)
	return &c
}

func scales(q *compute.Quantization) (scale, zero val) {
	if q == nil {
		return nil, nil
	}
	return q.Scale, q.ZeroPoint
}

func (f *function) QuantizedEmbeddingLookup(data, indices val, q *compute.Quantization) (val, error) {
	scale, zero := scales(q)
	in, get := optional([]val{data, indices}, scale, zero)
	return f.add(compute.OpTypeQuantizedEmbeddingLookup, nil, in, func(g fn, in []val) (val, error) {
		return g.QuantizedEmbeddingLookup(in[0], in[1], requantized(q, get, in, 0))
	})
}

func (f *function) FusedQuantizedDense(x, weights, bias val, q *compute.Quantization, activation compute.ActivationType) (val, error) {
	scale, zero := scales(q)
	in, get := optional([]val{x, weights}, bias, scale, zero)
	return f.add(compute.OpTypeFusedQuantizedDense, nil, in, func(g fn, in []val) (val, error) {
		return g.FusedQuantizedDense(in[0], in[1], get(in, 0), requantized(q, get, in, 1), activation)
	})
}

func (f *function) FusedAttentionQKVProjection(x, wQKV, biasQ, biasK, biasV val, queryDim, keyValueDim int) (query, key, v val, err error) {
	in, get := optional([]val{x, wQKV}, biasQ, biasK, biasV)
	return three(f.addMany(compute.OpTypeFusedAttentionQKVProjection, nil, in, nil, func(g fn, in []val, _ []fn) ([]val, error) {
		a, b, c, err := g.FusedAttentionQKVProjection(in[0], in[1], get(in, 0), get(in, 1), get(in, 2), queryDim, keyValueDim)
		return []val{a, b, c}, err
	}))
}
