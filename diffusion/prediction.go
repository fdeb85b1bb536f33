package diffusion

import (
	"fmt"

	"github.com/gomlx/gomlx/core/graph"
)

// Prediction is what a network says of x = α·x₀ + σ·ε.
type Prediction string

const (
	Epsilon  Prediction = "epsilon"      // ε
	Velocity Prediction = "v_prediction" // α·ε − σ·x₀
	Sample   Prediction = "sample"       // x₀
)

// Noise returns the coefficients of ε = x·state + out·network, in a process with α² + σ² = 1. A change of the network's output by Δ is therefore one of ε by
// out·Δ: with velocities, ε_h = α·Δv. It panics if there is no such prediction.
func (p Prediction) Noise(alpha, sigma float64) (x, out float64) {
	switch p {
	case Epsilon, "":
		return 0, 1
	case Velocity:
		return sigma, alpha
	case Sample:
		return 1 / sigma, -alpha / sigma
	}
	panic(p.unknown())
}

// NoiseOf returns ε at a state of which the network says out, shaped like s.X: [Prediction.Noise] in a graph.
func (p Prediction) NoiseOf(s State, out *graph.Node) *graph.Node {
	if p == Epsilon || p == "" {
		return out
	}
	alpha, sigma := s.AlphaSigma()
	switch p {
	case Velocity:
		return graph.Add(graph.Mul(sigma, s.X), graph.Mul(alpha, out))
	case Sample:
		return graph.Div(graph.Sub(s.X, graph.Mul(alpha, out)), sigma)
	}
	panic(p.unknown())
}

func (p Prediction) unknown() error {
	return fmt.Errorf("diffusion: unknown prediction %q: want epsilon, v_prediction or sample", string(p))
}
