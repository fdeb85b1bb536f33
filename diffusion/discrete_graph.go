package diffusion

import (
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/gomlx/core/graph"
)

// AlphaSigmaGraph implements [Process].
func (p *Discrete) AlphaSigmaGraph(t *graph.Node) (alpha, sigma *graph.Node) {
	position, i := p.position(t)
	from, slope := p.row(i, t)
	log := graph.Add(from, graph.Mul(slope, graph.Sub(position, graph.ConvertDType(i, t.DType()))))
	return graph.Exp(graph.MulScalar(log, 0.5)), graph.Sqrt(graph.Neg(graph.Expm1(log)))
}

// DiffusionGraph implements [Process].
func (p *Discrete) DiffusionGraph(t *graph.Node) *graph.Node {
	_, i := p.position(t)
	_, slope := p.row(i, t)
	return graph.MulScalar(slope, -float64(p.Levels()))
}

// LevelGraph returns [Discrete.Level] of times, in their type.
func (p *Discrete) LevelGraph(t *graph.Node) *graph.Node {
	return graph.AddScalar(graph.Round(graph.MulScalar(t, float64(p.Levels()))), -1)
}

// position returns times in units of levels, and the number of the interval that each is in.
func (p *Discrete) position(t *graph.Node) (position, interval *graph.Node) {
	position = graph.MulScalar(t, float64(p.Levels()))
	interval = graph.ConvertDType(graph.ClipScalar(graph.Floor(position), 0, float64(p.Levels()-1)), dtypes.Int32)
	return position, interval
}

// row returns log ᾱ where intervals begin, and what it changes by in them.
func (p *Discrete) row(interval, t *graph.Node) (from, slope *graph.Node) {
	n := p.Levels()
	starts, slopes := make([]float32, n), make([]float32, n)
	for i := range n {
		starts[i], slopes[i] = float32(p.log[i]), float32(p.log[i+1]-p.log[i])
	}
	indices := graph.InsertAxes(interval, -1)
	pick := func(table []float32) *graph.Node {
		return graph.Gather(graph.ConvertDType(graph.Const(t.Graph(), table), t.DType()), indices)
	}
	return pick(starts), pick(slopes)
}
