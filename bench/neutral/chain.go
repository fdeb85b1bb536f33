package main

import (
	"math"

	"github.com/doob-diffusion/doob/diffusion"
)

// setting is a chain whose every law can be computed: data ½N(−1, 0.3²) + ½N(1, 0.3²) in one dimension, DDPM steps on squared times, a base
// score with the error −fault·sin(2x), and the reward r = −(x−1)²/(2·0.5²), or none.
type setting struct {
	Steps int     `json:"steps"`
	Fault float64 `json:"fault"`
	Zero  bool    `json:"zero,omitempty"` // r = 0
}

// outcome is how far paths and endpoints of a control are from those of the tilted chain.
type outcome struct {
	KL float64 `json:"kl"` // KL(P^h‖P_tilted) of the paths
	TV float64 `json:"tv"` // total variation between the endpoints and the chain's own tilted law
}

// row are the outcomes for three h: of what (15) finds, on all samples that the tilted chain draws and with a network without error; of that less
// the same on the chain's own samples; and of the h* of the chain itself.
type row struct {
	setting
	Fit     outcome `json:"fit"`
	Neutral outcome `json:"fit_less_self"`
	Optimum outcome `json:"optimum"`
}

// chain is the base chain on a grid: the means of its steps, without their noise.
type chain struct {
	grid
	setting
	table []diffusion.Step
	score [][]float64 // of the base model, by step
	mean  [][]float64 // A·x + K·ε_θ
}

func (s setting) reward(x float64) float64 {
	if s.Zero {
		return 0
	}
	z := (x - 1) / 0.5
	return -z * z / 2
}

// dataScore is the score of the data, diffused.
func dataScore(x, alpha, sigma float64) float64 {
	variance := alpha*alpha*0.3*0.3 + sigma*sigma
	a, b := x+alpha, x-alpha // from either mean
	p, q := math.Exp(-(a*a-min(a*a, b*b))/(2*variance)), math.Exp(-(b*b-min(a*a, b*b))/(2*variance))
	return -(p*a + q*b) / (p + q) / variance
}

func newChain(s setting, step float64) chain {
	c := chain{grid: newGrid(step), setting: s, table: diffusion.Scheme{Kernel: "ddpm", Steps: s.Steps, Power: 2}.Table(nil)(0)}
	for _, st := range c.table {
		alpha, sigma := diffusion.VP{}.Alpha(st.T), diffusion.VP{}.Sigma(st.T)
		score := c.of(func(x float64) float64 { return dataScore(x, alpha, sigma) - s.Fault*math.Sin(2*x) })
		mean := make([]float64, c.n)
		for i, v := range score {
			mean[i] = st.A*c.at(i) - st.K*sigma*v // ε = −σ·score
		}
		c.score, c.mean = append(c.score, score), append(c.mean, mean)
	}
	return c
}

// run moves the law of the paths through all steps, with a shift D of every mean, and returns that of the endpoints and ½E Σ D²/s².
func (c chain) run(shift func(step int) []float64) (end []float64, energy float64) {
	end = c.of(func(x float64) float64 { return math.Exp(-x*x/2) / math.Sqrt(2*math.Pi) })
	for k, st := range c.table {
		d := shift(k)
		energy += c.integral(func(i int) float64 { return end[i] * d[i] * d[i] / (2 * st.S * st.S) })
		end, _ = c.convolve(end, func(i int) float64 { return c.mean[k][i] + d[i] }, st.S)
	}
	return end, energy
}

// compute returns the outcomes of a setting, on a grid of that spacing.
func compute(s setting, step float64) row {
	c := newChain(s, step)
	none := make([]float64, c.n)
	own, _ := c.run(func(int) []float64 { return none })
	tilted := make([]float64, c.n)
	for i, p := range own {
		tilted[i] = p * math.Exp(c.reward(c.at(i)))
	}
	z := c.integral(func(i int) float64 { return tilted[i] })
	for i := range tilted {
		tilted[i] /= z
	}
	judge := func(shift func(step int) []float64) outcome {
		end, energy := c.run(shift)
		return outcome{energy - c.integral(func(i int) float64 { return end[i] * c.reward(c.at(i)) }) + math.Log(z),
			c.integral(func(i int) float64 { return math.Abs(end[i]-tilted[i]) / 2 })}
	}
	fit, neutral := make([][]float64, s.Steps), make([][]float64, s.Steps)
	for k, st := range c.table {
		alpha, sigma := diffusion.VP{}.Alpha(st.T), diffusion.VP{}.Sigma(st.T)
		noised := func(i int) float64 { return alpha * c.at(i) }
		_, kept := c.convolve(tilted, noised, sigma)
		_, all := c.convolve(own, noised, sigma)
		fit[k], neutral[k] = make([]float64, c.n), make([]float64, c.n)
		for i := range kept { // D = K·ε_h = −K·σ·h
			fit[k][i], neutral[k][i] = -st.K*sigma*(kept[i]-c.score[k][i]), -st.K*sigma*(kept[i]-all[i])
		}
	}
	best := c.optimum()
	return row{s, judge(func(k int) []float64 { return fit[k] }), judge(func(k int) []float64 { return neutral[k] }), judge(func(k int) []float64 { return best[k] })}
}

// optimum returns the shifts that give every step the mean that it has on the tilted chain. Of all shifts they have the least
// KL(P_tilted‖P^h), and the other KL is not much above what is possible.
//
//	D(x) = E[s·z·u'(x')]/E u'(x'),  u(x) = E u'(x') with x' = μ(x) + s·z,  u' = exp r after the last step
func (c chain) optimum() [][]float64 {
	u := c.of(func(x float64) float64 { return math.Exp(c.reward(x)) })
	out := make([][]float64, len(c.table))
	for k := len(c.table) - 1; k >= 0; k-- {
		sd := c.table[k].S
		stride := c.stride(sd)
		next, shift := make([]float64, c.n), make([]float64, c.n)
		for i, m := range c.mean[k] {
			var moved float64
			from, to := c.around(m, sd)
			for j := from; j < to; j += stride {
				z := (c.at(j) - m) / sd
				w := u[j] * math.Exp(-z*z/2) * c.step * float64(stride) / (sd * math.Sqrt(2*math.Pi))
				next[i], moved = next[i]+w, moved+w*sd*z
			}
			if next[i] > 0 {
				shift[i] = moved / next[i]
			}
		}
		u, out[k] = next, shift
	}
	return out
}
