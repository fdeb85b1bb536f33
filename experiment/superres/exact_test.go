package superres

import (
	"fmt"
	"math"
	"testing"

	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/noise"
)

// fields are settings of Gaussian data whose posteriors are known.
func fields(side int, sets ...string) []string {
	return append([]string{"data=gaussian", fmt.Sprintf("gaussian={side: %d, length: 1, sd: 0.5}", side), "h={tuned: false, patch: 1, multipliers: [1]}", "sigma=0.2", "samples=200"}, sets...)
}

// One pixel that is measured as it is: the product of two Gaussian densities, N(0, 0.25·1.001) and N(y, 0.04).
func TestPosteriorOfOnePixel(t *testing.T) {
	p, _ := prepared(t, fields(1, "operator=average-1")...)
	prior, noise := 0.25*1.001, 0.04
	oracle.Near(t, "variance", p.exact.cov.At(0, 0), prior*noise/(prior+noise), 1e-7)
	for i := range p.Measurements {
		oracle.Near(t, "mean", p.exact.means[i][0], float64(p.measurement(i)[0])*prior/(prior+noise), 1e-6)
	}
	var logZ float64
	for i := range p.Measurements {
		likelihood := oracle.Quadratic{Goal: float64(p.measurement(i)[0]), Width: 0.2}
		logZ += likelihood.LogZ(oracle.Gaussian{SD: math.Sqrt(prior)}) / float64(p.Measurements)
	}
	oracle.Near(t, "log Z", p.exact.logZ, logZ, 1e-6)
}

// Two by two pixels of which the mean is measured: conditioned on the mean, by Schur's complement.
func TestPosteriorOfAMean(t *testing.T) {
	p, _ := prepared(t, fields(2, "operator=average-2")...)
	cov := p.Gaussian.covariance()
	var toMean [4]float64 // covariances of the pixels and their mean
	variance := 0.04      // of the measurement
	for i := range 4 {
		for j := range 4 {
			toMean[i] += cov[4*i+j] / 4
		}
		variance += toMean[i] / 4
	}
	for i := range 4 {
		for j := range 4 {
			oracle.Near(t, "covariance", p.exact.cov.At(i, j), cov[4*i+j]-toMean[i]*toMean[j]/variance, 1e-6)
		}
		oracle.Near(t, "mean", p.exact.means[1][i], toMean[i]/variance*float64(p.measurement(1)[0]), 1e-6)
	}
}

// Samples of the exact posterior are at the floor of its own measure; those of another law are not.
func TestExactPosterior(t *testing.T) {
	p, _ := prepared(t, fields(4)...)
	x := p.exact.samples(p.Samples, noise.New(1))
	mean, variance, covariance := p.exact.compare(x, 0, p.Samples)
	se := 1 / math.Sqrt(200)
	oracle.Near(t, "mean error over that of exact samples", mean/se, 1, 0.3)
	oracle.Near(t, "variance", variance, 1, 4*math.Sqrt(2./(3*199)))
	if covariance > 0.25 {
		t.Errorf("covariance error of exact samples is %g", covariance)
	}
	prior := p.Gaussian.law().Sample(p.Measurements*p.Samples, noise.New(2))
	if mean, variance, covariance = p.exact.compare(prior, 0, p.Samples); mean < 0.3 || variance < 1.3 || covariance < 0.5 {
		t.Errorf("samples of the prior: mean error %g, variance %g, covariance error %g", mean, variance, covariance)
	}
	// Of measurement 1 alone, its samples are right, and those of measurement 0 are not.
	each := len(x) / 3
	right, _, _ := p.exact.compare(x[each:2*each], 1, p.Samples)
	wrong, _, _ := p.exact.compare(x[:each], 1, p.Samples)
	if right > 2*se || wrong < 4*right {
		t.Errorf("measurement 1: mean error %g of its samples, %g of those of measurement 0", right, wrong)
	}
	if _, variance, covariance := p.exact.compare(x[:16], 0, 1); !math.IsNaN(variance) || !math.IsNaN(covariance) {
		t.Errorf("one sample has the variance %g", variance)
	}
	// Given y, a sample of the posterior and the truth have one law, so the residual of samples is 1 on average too.
	residual, err := p.reward.Residual(t.Context(), p.exact.samples(1, noise.New(3)), p.measured, p.Measurements)
	if err != nil {
		t.Fatal(err)
	}
	var total float64
	for _, v := range residual {
		total += v / float64(len(residual))
	}
	oracle.Near(t, "residual", total, 1, 4*math.Sqrt(2./(3*4)))
}

// The covariance of Gaussian data is what was configured, and their law has it.
func TestField(t *testing.T) {
	f := Field{Side: 3, Length: 1.5, SD: 0.7}
	cov := f.covariance()
	for _, c := range []struct {
		i, j int
		d2   float64
	}{{0, 1, 1}, {0, 3, 1}, {0, 4, 2}, {0, 8, 8}, {2, 3, 5}} {
		want := 0.49 * math.Exp(-c.d2/4.5)
		oracle.Near(t, "covariance", cov[9*c.i+c.j], want, 1e-12)
		oracle.Near(t, "covariance", cov[9*c.j+c.i], want, 1e-12)
	}
	oracle.Near(t, "variance", cov[40], 0.49*1.001, 1e-12)
	const n = 20000
	images := f.images(n, noise.New(1))
	if images.N != n || images.Height != 3 || images.Width != 3 || images.Channels != 1 || len(images.Labels) != n {
		t.Fatalf("%d images of %d×%d×%d", images.N, images.Height, images.Width, images.Channels)
	}
	var sum float64
	for i := range n {
		sum += float64(images.At(i)[0]) * float64(images.At(i)[4]) / n
	}
	oracle.Near(t, "covariance of samples", sum, cov[4], 4*0.49*math.Sqrt(2./n))
}

// The whole chain finds a posterior that is known: a small Gaussian field, from which importance fine-tuning learns means and
// covariances for any measurement, better than what can be had without learning.
func TestGaussianChain(t *testing.T) {
	p := tiny(t, "data=gaussian", "gaussian={side: 6, length: 2, sd: 0.5}", "h={tuned: false, patch: 1, width: 16, scale_width: 16, start: 1.2}",
		"sigma=0.1", "measurements=8", "samples=64", "process.steps=30", "methods=[bicubic, importance]", "group=16", "batch=128",
		"importance={iterations: 4, paths: 256, updates: 50, batch: 64, buffer: 1024, acceptance: [0.3], learning_rate: 0.003, ema: 0.98}")
	_, rep, events := run(t, p)
	value := func(name, metric string) float64 { return rep.Methods[name][metric].Value }
	floor := func(metric string) float64 { return rep.Reference["floor."+metric].Value }
	if got := value("importance", "mean_error"); got > 1.6*floor("mean_error") || got > 0.5*value("bicubic", "mean_error") {
		t.Errorf("mean error %g, want at most 1.6 times that of exact samples, %g, and half that of bicubic upsampling, %g", got, floor("mean_error"), value("bicubic", "mean_error"))
	}
	oracle.Near(t, "variance", value("importance", "variance"), 1, 0.25)
	if got := value("importance", "covariance"); got > 2*floor("covariance") {
		t.Errorf("covariance error %g, that of exact samples %g", got, floor("covariance"))
	}
	oracle.Near(t, "residual", value("importance", "residual"), 1, 0.2)
	// On held-out measurements, L_SC and KL fall from before the first iteration to after the last.
	var lsc, kl []float64
	for _, ev := range events {
		if ev.Held != nil {
			lsc, kl = append(lsc, float64(ev.Held.LSC)), append(kl, float64(ev.Held.KL))
		}
	}
	if n := len(lsc); n != 5 || lsc[n-1] >= lsc[0] || kl[n-1] >= kl[0] {
		t.Errorf("L_SC %v and KL %v, want them to fall over 4 iterations", lsc, kl)
	}
	if v, ok := rep.Methods["importance"]["fid"]; ok && !math.IsNaN(v.Value) {
		t.Errorf("Gaussian data have the FID %v", v)
	}
}
