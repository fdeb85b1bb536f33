package cpu_test

import (
	"testing"

	"github.com/gomlx/compute"
)

// A dense layer by hand, with its weights [in, out] and [out, in], both with and without what the stock backend has to do.
// The compliance suite knows the first layout only.
func TestFusedDenseLayouts(t *testing.T) {
	x := [][]float32{{1, 2, 3}, {-4, 5, -6}}
	inputsFirst := [][]float32{{1, 10}, {2, 20}, {-3, -30}}
	outputsFirst := [][]float32{{1, 2, -3}, {10, 20, -30}}
	bias := []float32{100, -1}
	for _, c := range []struct {
		name    string
		weights [][]float32
		config  compute.DenseConfig
		want    [][]float32 // with the bias
	}{
		{"weights [in, out]", inputsFirst, compute.DenseConfig{}, [][]float32{{96, -41}, {124, 239}}},
		{"weights [out, in]", outputsFirst, compute.DenseConfig{WeightLayout: compute.DenseLayoutOutputsInput}, [][]float32{{96, -41}, {124, 239}}},
		{"weights [out, in], rectified", outputsFirst, compute.DenseConfig{Activation: compute.ActivationRelu, WeightLayout: compute.DenseLayoutOutputsInput},
			[][]float32{{96, 0}, {124, 239}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			gives(t, []any{x, c.weights, bias}, []any{c.want}, func(f recorder, in []compute.Value) []compute.Value {
				return []compute.Value{must(f.FusedDense(in[0], in[1], in[2], c.config))}
			})
			if c.config.Activation != compute.ActivationNone {
				return
			}
			gives(t, []any{x, c.weights}, []any{[][]float32{{-4, -40}, {24, 240}}}, func(f recorder, in []compute.Value) []compute.Value {
				return []compute.Value{must(f.FusedDense(in[0], in[1], nil, c.config))}
			})
		})
	}
}
