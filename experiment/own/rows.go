package own

import (
	"github.com/doob-diffusion/doob/data"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/noise"
)

// data returns what fills in n pictures for every step; nil without pictures.
func (p *Problem) data() func(key noise.Key, n int) func(rows []float32, step int) {
	if p.pictures.N == 0 {
		return nil
	}
	return p.rows
}

// rows returns what fills in n pictures for every step, half of them mirrored if the prior says so.
func (p *Problem) rows(key noise.Key, n int) func(rows []float32, step int) {
	if p.pictures.N == 0 {
		return func([]float32, int) {}
	}
	shape := p.size()
	dim, next := engine.Size(shape), data.StepBatches(key.Sub("batches"), p.pictures.N, n)
	return func(rows []float32, step int) {
		for i, j := range next(step) {
			row := rows[i*dim : (i+1)*dim]
			copy(row, p.pictures.At(j))
			if p.Base.Flip && key.Sub("flip").Uniform(uint64(step), uint32(i)) < 0.5 {
				mirror(row, shape[1], shape[2])
			}
		}
	}
}

// mirror turns left and right of an image around.
func mirror(x []float32, width, channels int) {
	for at := 0; at < len(x); at += width * channels {
		for left, right := 0, width-1; left < right; left, right = left+1, right-1 {
			for c := range channels {
				a, b := at+left*channels+c, at+right*channels+c
				x[a], x[b] = x[b], x[a]
			}
		}
	}
}
