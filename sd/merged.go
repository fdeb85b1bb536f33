package sd

import (
	"errors"
	"fmt"
	"slices"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/lora"
)

// merger changes the weights of a part.
type merger struct {
	pairs   map[string][]lora.Pair // by the names of tensors today
	shapes  map[string][]int       // of all tensors, by these names
	current func(name string) string
	stop    func() error // returns an error if work shall end
}

func (m merger) merge(from, to string) (err error) {
	r, err := checkpoint.Open(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	return checkpoint.Rewrite(to, r, r.Metadata(), func(name string, t checkpoint.Tensor) (checkpoint.Tensor, error) {
		if err := m.stop(); err != nil {
			return t, err
		}
		pairs := m.pairs[m.current(name)]
		if len(pairs) == 0 {
			return t, nil
		}
		if want := m.shapes[m.current(name)]; !slices.Equal(t.Shape, want) {
			return t, fmt.Errorf("%w: it has shape %v, expected %v", ErrWeights, t.Shape, want)
		}
		return merged(t, pairs)
	})
}

// merged returns W + Σ scale·B·A in the precision of W.
func merged(t checkpoint.Tensor, pairs []lora.Pair) (checkpoint.Tensor, error) {
	w, err := t.Float32s()
	if err != nil {
		return t, err
	}
	sum := make([]float64, len(w))
	for i, v := range w {
		sum[i] = float64(v)
	}
	for _, p := range pairs {
		for o := range p.Out {
			row := sum[o*p.In : (o+1)*p.In]
			for r := range p.Rank {
				b := p.Scale * float64(p.B[o*p.Rank+r])
				for i, a := range p.A[r*p.In : (r+1)*p.In] {
					row[i] += b * float64(a)
				}
			}
		}
	}
	narrow := make([]float32, len(sum))
	for i, v := range sum {
		narrow[i] = float32(v)
	}
	out, err := checkpoint.Rounded(t.Shape, narrow, t.DType())
	if err != nil {
		return t, fmt.Errorf("%w: %w", ErrWeights, err)
	}
	if i := out.NotFinite(); i >= 0 {
		return t, fmt.Errorf("%w: number %d becomes %g, which %s cannot hold, or was not finite before", ErrWeights, i+1, sum[i], t.DType())
	}
	return out, nil
}
