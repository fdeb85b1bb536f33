package superres

import (
	"context"
	"fmt"
	"math"

	"gonum.org/v1/gonum/mat"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/experiment/imaging"
	"github.com/doob-diffusion/doob/noise"
)

// exactPosterior is what is known of Gaussian data: the posterior of measurement y is N(m(y), C), with
//
//	C⁻¹ = S⁻¹ + AᵀA/σ²,  m(y) = C·Aᵀy/σ²,  log Z(y) = log E exp(−‖AX−y‖²/(2σ²)) = ½(log|C| − log|S| + m(y)ᵀC⁻¹m(y) − ‖y‖²/σ²)
//
// for data N(0, S). C is the same for every y.
type exactPosterior struct {
	means [][]float64 // m(y) of every measurement of the run
	logZ  float64     // mean of log Z(y) over them
	cov   *mat.SymDense
}

// posterior computes the exact one.
func (p *Problem) posterior(ctx context.Context) (*exactPosterior, error) {
	n, d := p.pixels(), engine.Size(p.reward.Shape)
	identity := make([]float32, n*n)
	for i := range n {
		identity[i*n+i] = 1
	}
	columns, err := p.reward.Apply(ctx, identity, n) // row i is A·eᵢ
	if err != nil {
		return nil, err
	}
	at := mat.NewDense(n, d, nil) // Aᵀ
	for i, v := range columns {
		at.Set(i/d, i%d, float64(v))
	}
	var prior mat.Cholesky
	if !prior.Factorize(mat.NewSymDense(n, p.Gaussian.covariance())) {
		return nil, fmt.Errorf("%w: gaussian: the covariance is not positive definite", experiment.ErrConfig)
	}
	var precision, information mat.SymDense
	if err := prior.InverseTo(&precision); err != nil {
		return nil, err
	}
	information.SymOuterK(1/(p.Sigma*p.Sigma), at)
	precision.AddSym(&precision, &information)
	var posterior mat.Cholesky
	if !posterior.Factorize(&precision) {
		return nil, fmt.Errorf("%w: gaussian: the posterior precision is not positive definite", experiment.ErrConfig)
	}
	out := &exactPosterior{cov: &mat.SymDense{}}
	if err := posterior.InverseTo(out.cov); err != nil {
		return nil, err
	}
	for i := range p.Measurements {
		var back, mean mat.VecDense
		y, square := mat.NewVecDense(d, nil), 0.0
		for k, v := range p.measurement(i) {
			y.SetVec(k, float64(v)/(p.Sigma*p.Sigma))
			square += float64(v) * float64(v) / (p.Sigma * p.Sigma)
		}
		back.MulVec(at, y)
		mean.MulVec(out.cov, &back)
		out.logZ += (-posterior.LogDet() - prior.LogDet() + mat.Dot(&back, &mean) - square) / 2 / float64(p.Measurements)
		out.means = append(out.means, mean.RawVector().Data)
	}
	return out, nil
}

// compare returns how far samples [n, members, dim] of the posteriors of n measurements, starting with one, are from exact:
// the root of the mean of ‖mean − m(y)‖² over tr C, which for exact samples is 1/√members; tr Ĉ/tr C; and ‖Ĉ−C‖/‖C‖, with
// Ĉ pooled over the measurements. One sample has no covariance.
func (e *exactPosterior) compare(samples []float32, from, members int) (mean, variance, covariance float64) {
	dim := e.cov.SymmetricDim()
	n := len(samples) / dim / members
	trace := mat.Trace(e.cov)
	centres := imaging.Means(samples, members, dim)
	var square float64
	deviations := mat.NewDense(n*members, dim, nil)
	for i := range n {
		for k, m := range e.means[from+i] {
			c := float64(centres[i*dim+k])
			square += (c - m) * (c - m) / float64(n)
			for j := range members {
				deviations.Set(i*members+j, k, float64(samples[(i*members+j)*dim+k])-c)
			}
		}
	}
	mean = math.Sqrt(square / trace)
	if members < 2 {
		return mean, math.NaN(), math.NaN()
	}
	var pooled, difference mat.SymDense
	pooled.SymOuterK(1/float64(n*(members-1)), deviations.T())
	difference.ScaleSym(-1, e.cov)
	difference.AddSym(&difference, &pooled)
	return mean, mat.Trace(&pooled) / trace, mat.Norm(&difference, 2) / mat.Norm(e.cov, 2)
}

// samples draws from the exact posteriors, [Measurements, members, dim].
func (e *exactPosterior) samples(members int, key noise.Key) []float32 {
	dim := e.cov.SymmetricDim()
	var factor mat.Cholesky
	if !factor.Factorize(e.cov) {
		panic("superres: the covariance of a posterior is not positive definite")
	}
	var lower mat.TriDense
	factor.LTo(&lower)
	out := make([]float32, 0, len(e.means)*members*dim)
	z, x := make([]float32, dim), mat.NewVecDense(dim, nil)
	for i, m := range e.means {
		for j := range members {
			key.Normal(z, uint64(i*members+j), 0)
			x.MulVec(&lower, mat.NewVecDense(dim, widened(z)))
			for k, v := range m {
				out = append(out, float32(v+x.AtVec(k)))
			}
		}
	}
	return out
}

func widened(x []float32) []float64 {
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = float64(v)
	}
	return out
}
