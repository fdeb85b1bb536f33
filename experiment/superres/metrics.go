package superres

import (
	"context"
	"fmt"
	"slices"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/experiment/imaging"
	"github.com/doob-diffusion/doob/method"
	"github.com/doob-diffusion/doob/metric"
)

// Metrics implements [experiment.Problem].
func (p *Problem) Metrics() []experiment.Metric {
	alone := p.Methods != nil && !slices.Contains(p.Methods, "importance_single") // there is no "one"
	return []experiment.Metric{
		{Name: "psnr", Title: "PSNR, dB", Better: "higher", Format: "%.2f", Live: true},    // of the mean of a measurement's samples
		{Name: "psnr_single", Title: "of one", Format: "%.2f", Aside: true, Hidden: alone}, // the same of the measurement that importance_single is about
		{Name: "ssim", Title: "SSIM", Better: "higher", Format: "%.3f"},                    // of the same mean
		{Name: "residual", Title: "residual", Format: "%.2f", Log: true, Live: true},       // ‖Ax−y‖²/(nσ²) of the samples: near 1 for a posterior sampler
		{Name: "crps", Title: "CRPS", Better: "lower", Format: "%.4f", Live: true},         // of the samples, mean over pixels
		{Name: "spread_skill", Title: "spread/skill", Format: "%.2f"},                      // spread of the samples over the error of their mean
		{Name: "fid", Title: "FID", Better: "lower", Format: "%.3f", Log: true},            // of the samples, against all test images
		{Name: "mean_error", Title: "mean error", Better: "lower", Format: "%.3f", Log: true},
		{Name: "variance", Title: "variance", Format: "%.3f"},
		{Name: "covariance", Title: "covariance error", Better: "lower", Format: "%.3f", Log: true},
		{Name: "l_sc", Title: "L_SC", Better: "lower", Format: "%.0f", Log: true, Live: true},
		{Name: "network_calls", Title: "calls", Log: true, Work: true}, // per restored image: all samples of a measurement
		{Name: "seconds", Title: "seconds", Format: "%.2f", Log: true, Work: true},
		{Name: "training_calls", Title: "to learn", Aside: true, Work: true},
		{Name: "ess_fraction", Title: "ESS", Format: "%.3f", Hidden: true},
		{Name: "log_z", Title: "log Ẑ", Format: "%.3f", Hidden: true, Reference: "exact.log_z"},
		{Name: "kl", Title: "KL", Format: "%.3f", Hidden: true},
		{Name: "training_paths", Title: "paths to learn", Hidden: true, Work: true},
		{Name: "training_seconds", Title: "seconds to learn", Format: "%.0f", Hidden: true, Work: true},
	}
}

// Measure implements [experiment.Problem]: it compares samples with the truth.
func (p *Problem) Measure(ctx context.Context, _ *experiment.Lab, _ string, s *method.Samples) (experiment.Result, error) {
	d := p.pixels()
	truth, n := p.truth[s.From*d:(s.From+s.Count)*d], s.Count
	mean := imaging.Clipped(imaging.Means(s.X, s.Members, d))
	given := make([]float32, 0, n*s.Members*engine.Size(p.reward.Shape))
	for i := range n * s.Members {
		given = append(given, p.measurement(s.From+i/s.Members)...)
	}
	residual, err := p.reward.Residual(ctx, s.X, given, n*s.Members)
	if err != nil {
		return nil, err
	}
	average := func(v []float64) float64 {
		m, _ := metric.MeanSE(v)
		return m
	}
	psnr := metric.PSNR(mean, truth, d)
	out := map[string]float64{"psnr": average(psnr), "ssim": average(metric.SSIM(mean, truth, p.image())), "residual": average(residual),
		"crps":          average(metric.CRPS(s.X, truth, s.Members, d)),
		"spread_skill":  metric.SpreadSkill(s.X, truth, s.Members, d),
		"network_calls": float64(s.Sampling.Calls) / float64(n), "seconds": s.Sampling.Seconds / float64(n)}
	if one := p.chosen() - s.From; one >= 0 && one < len(psnr) {
		out["psnr_single"] = psnr[one]
	}
	if p.features != nil && n > 1 {
		distance, err := p.features.Distance(ctx, s.X, p.real)
		if err != nil {
			return nil, err
		}
		out["fid"] = distance
	}
	if p.exact != nil {
		out["mean_error"], out["variance"], out["covariance"] = p.exact.compare(s.X, s.From, s.Members)
	}
	return experiment.Numbers(out), nil
}

// chosen is the measurement that importance_single is about.
func (p *Problem) chosen() int { return p.Method("importance_single").(*Single).Measurement }

// References implements [experiment.Problem]: what the truth reaches, and of Gaussian data what exact samples do.
func (p *Problem) References(ctx context.Context, l *experiment.Lab) (map[string]experiment.Result, error) {
	if p.features != nil {
		var err error
		if p.real, err = p.features.Of(ctx, p.test.Pixels); err != nil {
			return nil, err
		}
	}
	s := &method.Samples{Count: p.Measurements, Members: 1, X: p.truth}
	if p.exact != nil {
		s.Members, s.X = p.Samples, p.exact.samples(p.Samples, l.Key.Sub("exact"))
	}
	out, err := p.Measure(ctx, l, "", s)
	delete(out, "network_calls")
	delete(out, "seconds")
	if p.exact != nil {
		out["log_z"] = experiment.Numbers(map[string]float64{"": p.exact.logZ})[""]
	}
	if p.exact == nil { // the truth against itself
		for _, name := range []string{"psnr", "psnr_single", "ssim", "crps"} {
			delete(out, name)
		}
	}
	return map[string]experiment.Result{"": out}, err
}

// Reference implements [experiment.Problem].
func (*Problem) Reference() string { return "Truth" }

// Alike implements [experiment.Problem].
func (*Problem) Alike() []string { return []string{"data", "operator", "sigma", "measurements"} }

// Describe implements [experiment.Problem].
func (p *Problem) Describe(*experiment.Lab) map[string]any {
	return map[string]any{"data": p.Data, "operator": p.Operator, "sigma": p.Sigma, "measurements": p.Measurements, "samples": p.Samples}
}

// Notes implements [experiment.Problem].
func (*Problem) Notes(rep *experiment.Report) []string {
	text := func(key string) any { return rep.Extra[key] }
	notes := []string{fmt.Sprintf("%v with noise of sd %v, %v measurements of test images, %v samples of each posterior. PSNR and SSIM are of the mean of the samples.",
		text("operator"), text("sigma"), text("measurements"), text("samples")),
		"Residual is ‖Ax−y‖²/(nσ²): 1 for the truth. Spread/skill is the spread of the samples over the error of their mean: 1 if calibrated.",
		"Calls and seconds are per restored image, with all its samples. A backward pass, which DPS and SMC need, is no call.",
		"To learn: calls before the first image, for fine-tuning, or tuning of a scale."}
	if text("data") == "gaussian" {
		notes = append(notes, "Truth is the exact posterior. Mean error is ‖mean − exact‖/√tr C, variance tr Ĉ/tr C, covariance error ‖Ĉ − C‖/‖C‖, for the exact posterior covariance C.")
	}
	if slices.Contains(rep.Order, "importance_single") {
		notes = append(notes, "Importance, one measurement, was trained for one and is measured on that one only; the PSNR of one is that of every method there.")
	}
	return notes
}

// Cautions implements [experiment.Cautious].
func (p *Problem) Cautions() []string {
	if p.gaussian() {
		return nil
	}
	return imaging.FewSamples(p.Measurements*p.Samples, p.Classifier)
}
