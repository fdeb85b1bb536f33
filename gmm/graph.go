package gmm

import (
	"math"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
)

// LogDensityGraph returns log p(x) per row, [batch], for x [batch, dim]. It is differentiable.
func (m *Mixture) LogDensityGraph(x *graph.Node) *graph.Node {
	one := graph.Reshape(graph.OnesLike(graph.ReduceSum(x, 1)), -1, 1)
	joint, _ := m.joint(x, one, graph.ZerosLike(one))
	return logSumExp(joint)
}

// ScoreGraph returns the score ∇ log p_t(x) [batch, dim] of the diffused mixture at x [batch, dim], for per-row
// coefficients gamma, nu [batch, 1] of X_t = γX_0 + νε.
func (m *Mixture) ScoreGraph(x, gamma, nu *graph.Node) *graph.Node {
	joint, pull := m.joint(x, gamma, graph.Square(nu))
	responsibility := graph.Softmax(joint, -1) // [batch, component]
	return graph.ReduceSum(graph.Mul(graph.InsertAxes(responsibility, -1), pull), 1)
}

// joint returns log w_i + log N(x; γm_i, γ²S_i+ν²I), [batch, component], and the pulls Σ_i⁻¹(γm_i − x),
// [batch, component, dim]. It works in the eigenbasis U_i of each S_i, where every γ²S_i+ν²I is diagonal.
func (m *Mixture) joint(x, gamma, nu2 *graph.Node) (joint, pull *graph.Node) {
	g, dim, n := x.Graph(), m.Dim(), len(m.weights)
	rotate := make([]float32, n*dim*dim) // [component, dim, eigen]
	rotatedMean := make([]float32, n*dim)
	eigen := make([]float32, n*dim)
	logW := make([]float32, n)
	for i := range n {
		logW[i] = float32(math.Log(m.weights[i]) - 0.5*float64(dim)*math.Log(2*math.Pi))
		for e := range dim {
			eigen[i*dim+e] = float32(m.values[i][e])
			var y float64
			for a := range dim {
				rotate[(i*dim+a)*dim+e] = float32(m.vectors[i].At(a, e))
				y += m.vectors[i].At(a, e) * m.means[i][a]
			}
			rotatedMean[i*dim+e] = float32(y)
		}
	}
	constant := func(data []float32, dims ...int) *graph.Node {
		return graph.ConvertDType(graph.ConstTensor(g, tensors.FromFlatDataAndDimensions(data, dims...)), x.DType())
	}
	u := constant(rotate, n, dim, dim)
	gamma, nu2 = graph.InsertAxes(gamma, -1), graph.InsertAxes(nu2, -1) // [batch, 1, 1]
	y := graph.Sub(
		graph.DotGeneral(x, []int{1}, nil, u, []int{1}, nil), // [batch, component, eigen]
		graph.Mul(gamma, constant(rotatedMean, 1, n, dim)))
	variance := graph.Add(graph.Mul(graph.Square(gamma), constant(eigen, 1, n, dim)), nu2)
	scaled := graph.Div(y, variance)
	joint = graph.Sub(constant(logW, 1, n),
		graph.MulScalar(graph.ReduceSum(graph.Add(graph.Mul(y, scaled), graph.Log(variance)), 2), 0.5))
	// Rotate back component by component: batch over i, contract the eigen axis.
	back := graph.DotGeneral(scaled, []int{2}, []int{1}, u, []int{2}, []int{0}) // [component, batch, dim]
	return joint, graph.Neg(graph.TransposeAllAxes(back, 1, 0, 2))
}

func logSumExp(x *graph.Node) *graph.Node {
	top := graph.StopGradient(graph.ReduceMax(x, -1))
	return graph.Add(top, graph.Log(graph.ReduceSum(graph.Exp(graph.Sub(x, graph.InsertAxes(top, -1))), -1)))
}
