package diffusion

import (
	"context"
	"fmt"
	"slices"

	"github.com/doob-diffusion/doob/noise"
)

// Piece is a simulation of the paths [From, From+N) of a key by itself, with what it takes to join pieces to what one [Sampler.Run] of all
// paths returns, to the last bit.
type Piece struct {
	Paths // StepEnergy is nil: it is a mean over all paths
	From  int
	Spent []float64 // [steps, N]: each step's part of the energy of each path
	// States and Controls are X and EpsH [steps, N, Dim] before every step; nil unless asked for.
	States, Controls []float32
}

// Piece simulates n paths like [Sampler.Run]. With states it keeps what [Sampler.Join] takes to show the paths to a visitor.
func (s *Sampler) Piece(ctx context.Context, key noise.Key, from, n int, states bool) (Piece, error) {
	p := Piece{From: from}
	var visit Visitor
	if states {
		visit = func(at *Population) error {
			p.States, p.Controls = append(p.States, at.X...), append(p.Controls, at.EpsH...)
			return nil
		}
	}
	var err error
	p.Paths, err = s.run(ctx, key, from, n, visit, func(at *Population) { p.Spent = append(p.Spent, at.spent...) })
	p.StepEnergy = nil
	return p, err
}

// CheckPiece says what is wrong with a piece that came from elsewhere: its sizes, and what its paths are conditioned on, which is drawn here
// again. States says whether it must have them.
func (s *Sampler) CheckPiece(key noise.Key, p Piece, states bool) error {
	dim, steps := s.dim(), len(s.Steps)
	recorded := 0
	if states {
		recorded = steps * p.N * dim
	}
	for _, v := range []struct {
		name      string
		got, want int
	}{{"numbers of a sample", p.Dim, dim}, {"endpoints", len(p.X), p.N * dim}, {"log ratios", len(p.LogRatio), p.N}, {"energies", len(p.Energy), p.N},
		{"energies of steps", len(p.Spent), steps * p.N}, {"states", len(p.States), recorded}, {"controls", len(p.Controls), recorded}} {
		if v.got != v.want {
			return fmt.Errorf("diffusion: piece of the paths from %d to %d: %d %s, want %d", p.From, p.From+p.N, v.got, v.name, v.want)
		}
	}
	var given []float32
	if s.Given != nil {
		given = s.given(key, p.From, p.N)
	}
	if !slices.Equal(given, p.Given) {
		return fmt.Errorf("diffusion: piece of the paths from %d to %d: they are conditioned on something else than here: was it simulated for another target?", p.From, p.From+p.N)
	}
	return nil
}

// Join makes of pieces that together are the n paths of a key from one on, in any order, what [Sampler.Run] of all of them returns, and shows
// the visitor what it would have seen of their X, EpsH and noise. The populations have no Eps and no weights, and resampling them changes nothing.
func (s *Sampler) Join(key noise.Key, from, n int, pieces []Piece, visit Visitor) (Paths, error) {
	pieces = slices.Clone(pieces)
	slices.SortFunc(pieces, func(a, b Piece) int { return a.From - b.From })
	out := Paths{Dim: s.dim(), StepEnergy: make([]float64, len(s.Steps))}
	for _, p := range pieces {
		if p.From != from+out.N {
			return Paths{}, fmt.Errorf("diffusion: join: a piece begins at path %d, want one that begins at %d", p.From, from+out.N)
		}
		if err := s.CheckPiece(key, p, visit != nil); err != nil {
			return Paths{}, err
		}
		out.N += p.N
		out.X, out.LogRatio, out.Energy, out.Given = append(out.X, p.X...), append(out.LogRatio, p.LogRatio...), append(out.Energy, p.Energy...), append(out.Given, p.Given...)
	}
	if out.N != n {
		return Paths{}, fmt.Errorf("diffusion: join: %d paths, want %d", out.N, n)
	}
	for k, step := range s.Steps {
		var spent []float64
		seen := Population{Paths: Paths{N: n, Dim: out.Dim, Given: out.Given}, From: from, Index: k, Step: step, key: key}
		for _, p := range pieces {
			spent = append(spent, p.Spent[k*p.N:(k+1)*p.N]...)
			if visit != nil {
				at := k * p.N * p.Dim
				seen.X, seen.EpsH = append(seen.X, p.States[at:at+p.N*p.Dim]...), append(seen.EpsH, p.Controls[at:at+p.N*p.Dim]...)
			}
		}
		out.StepEnergy[k] = meanInOrder(spent)
		if visit == nil {
			continue
		}
		if err := visit(&seen); err != nil {
			return Paths{}, err
		}
	}
	return out, nil
}
