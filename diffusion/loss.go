package diffusion

import "github.com/gomlx/gomlx/core/graph"

// Diffused is a training batch of the forward process, X_t = α_t x_0 + σ_t ε, as graph nodes.
type Diffused struct {
	State
	Target *graph.Node // ε, like X
}

// Diffuse evaluates the base model on noised data: x0 [batch, …], t [batch], eps like x0. Given is what the rows are
// conditioned on [batch, …]; nil for nothing.
func Diffuse(p Process, base Model, x0, t, eps, given *graph.Node) Diffused {
	alpha, sigma := orVP(p).AlphaSigmaGraph(t)
	x := graph.Add(graph.Mul(Column(alpha, x0), x0), graph.Mul(Column(sigma, x0), eps))
	return Diffused{State: State{Process: p, X: x, T: t, Given: given}.Evaluate(base), Target: eps}
}

// Loss is the supervised loss (7)/(9) weighted by σ², mean over batch and coordinates of (ε − ε_θ − ε_h)², and with it
// ε_h. Without a control it is the denoising score-matching loss of the base model. With velocity set, each sample's part
// is divided by α², which makes it the error of the velocity: high noise levels, where the error of ε is smallest in spite of
// all that is decided there, then count as much as low ones. The minimiser is the same.
func (d Diffused) Loss(h Control, velocity bool) (loss, epsH *graph.Node) {
	residual := graph.Sub(d.Target, d.Eps)
	if h != nil {
		epsH = d.Noise(h)
		residual = graph.Sub(residual, epsH)
	}
	if velocity {
		alpha, _ := d.AlphaSigma()
		residual = graph.Div(residual, alpha)
	}
	return graph.ReduceAllMean(graph.Square(residual)), epsH
}

// KL is the one-sample estimate of the regulariser (17), mean over batch and coordinates of ½g²h² = ½g²·ε_h²/σ². The
// integral is over uniform t, so an estimate at times of a law is divided by their density.
func (d Diffused) KL(epsH *graph.Node, law TimeLaw) *graph.Node {
	_, sigma := d.Process.AlphaSigmaGraph(d.T)
	weight := graph.Div(graph.MulScalar(d.Process.DiffusionGraph(d.T), 0.5), graph.Square(sigma))
	return graph.ReduceAllMean(graph.Mul(Column(graph.Mul(weight, law.inverseDensity(d.Process, d.T)), epsH), graph.Square(epsH)))
}
