package method

import (
	"context"
	"slices"
	"time"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/noise"
)

// Pool holds the base paths of one repetition, by the key that they were simulated with. They do not depend on task and method: they
// serve as iteration 1 of Algorithm 1 with h⁰ = 0, as candidates of best-of-K, and as samples of the base model.
type Pool struct {
	key   noise.Key
	paths diffusion.Paths
	spent Spent
}

// take returns the first n paths, and their share of the cost. It simulates those that are not there yet.
func (p *Pool) take(ctx context.Context, t *Target, n int) (diffusion.Paths, Spent, error) {
	key := t.Keys.Root.Sub("samples")
	if p.key != key {
		*p = Pool{key: key}
	}
	if have := p.paths.N; have < n {
		start, e := time.Now(), t.Engine.Fork()
		s := t.spread(nil, Chain{}, 0)
		s.Engine = e
		more, err := s.Run(ctx, key, have, n-have, nil)
		if err != nil {
			return diffusion.Paths{}, Spent{}, err
		}
		p.paths = diffusion.Paths{N: n, Dim: more.Dim, X: slices.Concat(p.paths.X, more.X),
			LogRatio: slices.Concat(p.paths.LogRatio, more.LogRatio), Energy: slices.Concat(p.paths.Energy, more.Energy)}
		p.spent = p.spent.Plus(Spent{e.Paths(), e.NetworkCalls(), time.Since(start).Seconds()})
	}
	all := p.paths
	share := Spent{int64(n), int64(n) * (p.spent.Calls / int64(all.N)), p.spent.Seconds * float64(n) / float64(all.N)}
	return diffusion.Paths{N: n, Dim: all.Dim, X: all.X[:n*all.Dim], LogRatio: all.LogRatio[:n], Energy: all.Energy[:n]}, share, nil
}
