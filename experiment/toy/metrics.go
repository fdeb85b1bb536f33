package toy

import (
	"context"
	"fmt"
	"slices"

	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/method"
	"github.com/doob-diffusion/doob/metric"
	"github.com/doob-diffusion/doob/noise"
)

// Metrics implements [experiment.Problem].
func (*Problem) Metrics() []experiment.Metric {
	return []experiment.Metric{
		{Name: "mode_tv", Title: "mode TV", Better: "lower", Format: "%.3f", Live: true}, // total variation of the mode weights from the exact ones
		{Name: "sw2", Title: "SW2", Better: "lower", Format: "%.3f", Log: true, Live: true},
		{Name: "energy", Title: "energy", Better: "lower", Format: "%.4f", Log: true},
		{Name: "reward", Title: "reward", Format: "%.2f"},
		{Name: "ess_fraction", Title: "ESS", Better: "higher", Format: "%.2f"},
		{Name: "log_z", Title: "log Ẑ", Format: "%.3f", Reference: "exact.log_z", Live: true},
		{Name: "kl", Title: "KL", Better: "lower", Format: "%.3f", Log: true, Live: true},
		{Name: "paths", Title: "paths", Log: true, Work: true},
		{Name: "network_calls", Title: "calls", Log: true, Work: true},
		{Name: "seconds", Title: "seconds", Format: "%.0f", Log: true, Work: true},
	}
}

// Measure implements [experiment.Problem]: it compares samples with the exact law, in every repetition with another set of it, so that
// the errors over seeds hold what the set contributes.
func (p *Problem) Measure(ctx context.Context, l *experiment.Lab, _ string, s *method.Samples) (experiment.Result, error) {
	rewards, err := p.law.reward.Rewards(ctx, s.X, len(s.X)/p.law.dim())
	if err != nil {
		return nil, err
	}
	reward, _ := metric.MeanSE(rewards)
	exact, d := p.law.samples(l.Seed(), 0), p.law.dim()
	return experiment.Numbers(map[string]float64{
		"mode_tv": p.law.modeTV(s.X),
		"sw2":     metric.SlicedW2(s.X, exact, d, p.Directions, noise.New(0).Sub("directions")),
		"energy":  metric.EnergyDistance(s.X, exact, d),
		"reward":  reward,
	}), nil
}

// References implements [experiment.Problem].
func (p *Problem) References(context.Context, *experiment.Lab) (map[string]experiment.Result, error) {
	sw2, modes := p.law.floors()
	out := experiment.Numbers(map[string]float64{"log_z": p.law.logZ})
	out["sw2"], out["mode_tv"] = sw2, modes
	return map[string]experiment.Result{"": out}, nil
}

// Reference implements [experiment.Problem].
func (*Problem) Reference() string { return "Exact law" }

// Alike implements [experiment.Problem].
func (*Problem) Alike() []string { return []string{"exact.log_z"} }

// Describe implements [experiment.Problem].
func (p *Problem) Describe(*experiment.Lab) map[string]any { return map[string]any{"base": p.Base} }

// Notes implements [experiment.Problem].
func (*Problem) Notes(rep *experiment.Report) []string {
	notes := []string{"The exact law's mode TV and SW2 are those of exact sets of the same size: mean of ten ± standard deviation of one.",
		"Paths and calls (network evaluations on one sample, of base model and learned h) include training, tuning and the samples measured here."}
	if slices.Contains(rep.Order, "resampled") {
		notes = append(notes, "Base model, resampled: what the simulated chain itself reaches. Its log Ẑ is that of the chain; the exact one is of the process.")
	}
	if slices.Contains(rep.Order, "neutral") {
		notes = append(notes, "Neutral: importance fine-tuning with r = 0. Its KL, to the base model, is what fine-tuning costs where there is nothing to learn.")
	}
	if slices.Contains(rep.Order, "guidance") {
		scale := fmt.Sprintf("scale %.3g", rep.Methods["guidance"]["scale"].Value)
		if rep.Seeds > 1 {
			scale += " on average"
		}
		notes = append(notes, fmt.Sprintf("Classifier guidance at %s, the best of those tried by mean reward.", scale))
	}
	return notes
}
