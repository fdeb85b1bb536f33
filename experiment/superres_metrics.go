package experiment

import (
	"context"
	"fmt"
	"math"

	"gonum.org/v1/gonum/mat"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/metric"
	"github.com/doob-diffusion/doob/noise"
)

// SuperResResult is what one method reached with one seed, or the mean over the seeds.
type SuperResResult struct {
	PSNR        finetune.Number `json:"psnr"`         // of the mean of a measurement's samples, dB
	Chosen      finetune.Number `json:"psnr_single"`  // the same of measurement Single alone, which importance_single is about
	SSIM        finetune.Number `json:"ssim"`         // of the same mean
	Residual    finetune.Number `json:"residual"`     // ‖Ax−y‖²/(nσ²) of the samples: near 1 for a posterior sampler
	CRPS        finetune.Number `json:"crps"`         // of the samples, mean over pixels
	SpreadSkill finetune.Number `json:"spread_skill"` // spread of the samples over the error of their mean: 1 if calibrated
	FID         finetune.Number `json:"fid"`          // of the samples, against all test images
	MeanError   finetune.Number `json:"mean_error"`   // of Gaussian data: ‖mean − exact‖/√tr C, see [exactPosterior]
	Variance    finetune.Number `json:"variance"`     // tr Ĉ/tr C
	Covariance  finetune.Number `json:"covariance"`   // ‖Ĉ − C‖/‖C‖, Frobenius
	ESSFraction finetune.Number `json:"ess_fraction"` // of a measurement's paths
	LogZ        finetune.Number `json:"log_z"`
	LSC         finetune.Number `json:"l_sc"`
	KL          finetune.Number `json:"kl"`            // of KL(P^h‖P_tilted)
	Scale       finetune.Number `json:"scale"`         // of guidance, as tuned
	Calls       finetune.Number `json:"network_calls"` // per restored image: all samples of a measurement
	Seconds     finetune.Number `json:"seconds"`       // per restored image
	// What it took to learn, or to tune, before.
	TrainingPaths   finetune.Number `json:"training_paths"`
	TrainingCalls   finetune.Number `json:"training_calls"`
	TrainingSeconds finetune.Number `json:"training_seconds"`
	// SE are the standard errors of the numbers above, by name; absent for a single seed.
	SE map[string]finetune.Number `json:"se,omitempty"`
}

// numbers lists the fields of a result by their names in the report.
func (r *SuperResResult) numbers() map[string]*finetune.Number {
	return map[string]*finetune.Number{"psnr": &r.PSNR, "psnr_single": &r.Chosen, "ssim": &r.SSIM, "residual": &r.Residual, "crps": &r.CRPS, "spread_skill": &r.SpreadSkill,
		"fid": &r.FID, "mean_error": &r.MeanError, "variance": &r.Variance, "covariance": &r.Covariance, "ess_fraction": &r.ESSFraction,
		"log_z": &r.LogZ, "l_sc": &r.LSC, "kl": &r.KL, "scale": &r.Scale, "network_calls": &r.Calls, "seconds": &r.Seconds,
		"training_paths": &r.TrainingPaths, "training_calls": &r.TrainingCalls, "training_seconds": &r.TrainingSeconds}
}

// training returns what the method has cost before it sampled.
func (r *SuperResResult) training() cost {
	return cost{int64(r.TrainingPaths), int64(r.TrainingCalls), float64(r.TrainingSeconds)}
}

// measure compares what a method has restored with the truth.
func (r *superResRun) measure(ctx context.Context, o *restored) (*SuperResResult, error) {
	d, y := r.pixels(), engine.Size(r.reward.Shape)
	for i, v := range o.samples {
		if !(v-v == 0) { // a diverged sample has no features
			return nil, fmt.Errorf("sample %d of measurement %d has a pixel that is %g", i/d%o.members, o.from+i/d/o.members, v)
		}
	}
	truth, n := r.truth[o.from*d:(o.from+o.count)*d], o.count
	mean := clipped(means(o.samples, o.members, d))
	given := make([]float32, 0, n*o.members*y)
	for i := range n * o.members {
		given = append(given, r.measurement(o.from+i/o.members)...)
	}
	residual, err := r.reward.Residual(ctx, o.samples, given, n*o.members)
	if err != nil {
		return nil, err
	}
	average := func(v []float64) finetune.Number {
		m, _ := metric.MeanSE(v)
		return finetune.Number(m)
	}
	psnr := metric.PSNR(mean, truth, d)
	out := &SuperResResult{PSNR: average(psnr), Chosen: finetune.Number(psnr[r.Single-o.from]), SSIM: average(metric.SSIM(mean, truth, r.image())),
		Residual: average(residual), CRPS: average(metric.CRPS(o.samples, truth, o.members, d)),
		SpreadSkill: finetune.Number(metric.SpreadSkill(o.samples, truth, o.members, d)),
		FID:         nan, MeanError: nan, Variance: nan, Covariance: nan, ESSFraction: nan, LogZ: nan, LSC: nan, KL: nan, Scale: nan,
		Calls: finetune.Number(o.sampling.calls) / finetune.Number(n), Seconds: finetune.Number(o.sampling.seconds) / finetune.Number(n),
		TrainingPaths: finetune.Number(o.training.paths), TrainingCalls: finetune.Number(o.training.calls), TrainingSeconds: finetune.Number(o.training.seconds)}
	if o.scale > 0 {
		out.Scale = finetune.Number(o.scale)
	}
	if g := o.diagnostics; g != nil {
		out.ESSFraction, out.LogZ, out.LSC, out.KL = g.ESS, g.LogZ, g.LSC, g.KL
	}
	if r.features != nil && o.count > 1 {
		f, err := r.features.of(ctx, o.samples)
		if err != nil {
			return nil, err
		}
		out.FID = finetune.Number(metric.FrechetDistance(f, r.real, r.features.size))
	}
	if r.exact != nil {
		out.MeanError, out.Variance, out.Covariance = r.exact.compare(o.samples, o.from, o.members)
	}
	return out, nil
}

// floor is what the truth reaches, and of Gaussian data what exact samples do.
func (r *superResRun) floor(ctx context.Context) (*SuperResResult, error) {
	o := &restored{count: r.Measurements, members: 1, samples: r.truth}
	if r.exact != nil {
		o.members, o.samples = r.Samples, r.exact.samples(r.Samples, r.key.Sub("exact"))
	}
	out, err := r.measure(ctx, o)
	if err == nil && r.exact == nil {
		out.PSNR, out.Chosen, out.SSIM, out.CRPS = nan, nan, nan, nan // of the truth against itself
	}
	return out, err
}

// exactPosterior is what is known of Gaussian data: the posterior of measurement y is N(m(y), C), with
//
//	C⁻¹ = S⁻¹ + AᵀA/σ²,  m(y) = C·Aᵀy/σ²
//
// for data N(0, S). C is the same for every y.
type exactPosterior struct {
	means [][]float64 // m(y) of every measurement of the run
	cov   *mat.SymDense
}

// posterior computes the exact one.
func (r *superResRun) posterior(ctx context.Context) (*exactPosterior, error) {
	n, d := r.pixels(), engine.Size(r.reward.Shape)
	identity := make([]float32, n*n)
	for i := range n {
		identity[i*n+i] = 1
	}
	columns, err := r.reward.Apply(ctx, identity, n) // row i is A·eᵢ
	if err != nil {
		return nil, err
	}
	at := mat.NewDense(n, d, nil) // Aᵀ
	for i, v := range columns {
		at.Set(i/d, i%d, float64(v))
	}
	var prior mat.Cholesky
	if !prior.Factorize(mat.NewSymDense(n, r.Gaussian.covariance())) {
		return nil, fmt.Errorf("%w: gaussian: the covariance is not positive definite", ErrConfig)
	}
	var precision, information mat.SymDense
	if err := prior.InverseTo(&precision); err != nil {
		return nil, err
	}
	information.SymOuterK(1/(r.Sigma*r.Sigma), at)
	precision.AddSym(&precision, &information)
	var posterior mat.Cholesky
	if !posterior.Factorize(&precision) {
		return nil, fmt.Errorf("%w: gaussian: the posterior precision is not positive definite", ErrConfig)
	}
	out := &exactPosterior{cov: &mat.SymDense{}}
	if err := posterior.InverseTo(out.cov); err != nil {
		return nil, err
	}
	for i := range r.Measurements {
		var back, mean mat.VecDense
		y := mat.NewVecDense(d, nil)
		for k, v := range r.measurement(i) {
			y.SetVec(k, float64(v)/(r.Sigma*r.Sigma))
		}
		back.MulVec(at, y)
		mean.MulVec(out.cov, &back)
		out.means = append(out.means, mean.RawVector().Data)
	}
	return out, nil
}

// compare returns how far samples [n, members, dim] of the posteriors of n measurements, starting with one, are from exact:
// the root of the mean of ‖mean − m(y)‖² over tr C, which for exact samples is 1/√members; tr Ĉ/tr C; and ‖Ĉ−C‖/‖C‖, with
// Ĉ pooled over the measurements. One sample has no covariance.
func (p *exactPosterior) compare(samples []float32, from, members int) (mean, variance, covariance finetune.Number) {
	dim := p.cov.SymmetricDim()
	n := len(samples) / dim / members
	trace := mat.Trace(p.cov)
	centres := means(samples, members, dim)
	var square float64
	deviations := mat.NewDense(n*members, dim, nil)
	for i := range n {
		for k, m := range p.means[from+i] {
			c := float64(centres[i*dim+k])
			square += (c - m) * (c - m) / float64(n)
			for j := range members {
				deviations.Set(i*members+j, k, float64(samples[(i*members+j)*dim+k])-c)
			}
		}
	}
	mean = finetune.Number(math.Sqrt(square / trace))
	if members < 2 {
		return mean, nan, nan
	}
	var pooled, difference mat.SymDense
	pooled.SymOuterK(1/float64(n*(members-1)), deviations.T())
	difference.ScaleSym(-1, p.cov)
	difference.AddSym(&difference, &pooled)
	return mean, finetune.Number(mat.Trace(&pooled) / trace), finetune.Number(mat.Norm(&difference, 2) / mat.Norm(p.cov, 2))
}

// samples draws from the exact posteriors, [Measurements, members, dim].
func (p *exactPosterior) samples(members int, key noise.Key) []float32 {
	dim := p.cov.SymmetricDim()
	var factor mat.Cholesky
	if !factor.Factorize(p.cov) {
		panic("experiment: the covariance of a posterior is not positive definite")
	}
	var lower mat.TriDense
	factor.LTo(&lower)
	out := make([]float32, 0, len(p.means)*members*dim)
	z, x := make([]float32, dim), mat.NewVecDense(dim, nil)
	for i, m := range p.means {
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
