package main

import (
	"fmt"
	"math"
	"testing"

	"github.com/doob-diffusion/doob/internal/oracle"
)

// The prototype's numbers, in three digits, of another program: path KL and total variation of the endpoints for h from the fit, from what the
// fit adds to that of all samples, and for the h* of the chain.
func TestTable(t *testing.T) {
	for _, c := range []struct {
		setting
		want [6]float64
	}{
		{setting{24, 0, false}, [6]float64{0.178, 0.083, 0.152, 0.052, 0.111, 0.024}},
		{setting{24, 0.3, false}, [6]float64{0.562, 0.082, 0.157, 0.072, 0.116, 0.029}},
		{setting{50, 0.3, false}, [6]float64{0.345, 0.042, 0.071, 0.038, 0.057, 0.013}},
		{setting{24, 0.3, true}, [6]float64{0.417, 0.061, 0, 0, 0, 0}},
	} {
		r := compute(c.setting, spacing(c.Steps))
		for i, got := range []float64{r.Fit.KL, r.Fit.TV, r.Neutral.KL, r.Neutral.TV, r.Optimum.KL, r.Optimum.TV} {
			oracle.Near(t, fmt.Sprintf("%+v: number %d", c.setting, i+1), got, c.want[i], 0.001)
		}
	}
}

// The outcomes are no matter of the grid.
func TestSpacing(t *testing.T) {
	s := setting{Steps: 12, Fault: 0.3}
	coarse, fine := compute(s, 0.02), compute(s, 0.0083)
	oracle.Near(t, "KL", coarse.Fit.KL, fine.Fit.KL, 1e-4)
	oracle.Near(t, "TV", coarse.Neutral.TV, fine.Neutral.TV, 1e-4)
	oracle.Near(t, "optimum", coarse.Optimum.KL, fine.Optimum.KL, 1e-4)
}

// The score of the data is the slope of the log density of the convolution that the grid makes of them.
func TestDataScore(t *testing.T) {
	g := newGrid(0.01)
	data := g.of(func(x float64) float64 {
		return (math.Exp(-(x-1)*(x-1)/0.18) + math.Exp(-(x+1)*(x+1)/0.18)) / (2 * 0.3 * math.Sqrt(2*math.Pi))
	})
	oracle.Near(t, "∫", g.integral(func(i int) float64 { return data[i] }), 1, 1e-9)
	const alpha, sigma = 0.8, 0.6
	_, slope := g.convolve(data, func(i int) float64 { return alpha * g.at(i) }, sigma)
	for i := g.n / 4; i < 3*g.n/4; i += 10 {
		oracle.Near(t, "score", slope[i], dataScore(g.at(i), alpha, sigma), 1e-6)
	}
}
