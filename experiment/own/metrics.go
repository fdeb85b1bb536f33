package own

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/method"
	"github.com/doob-diffusion/doob/metric"
	"github.com/doob-diffusion/doob/reward"
)

// Metrics implements [experiment.Problem].
func (p *Problem) Metrics() []experiment.Metric {
	all := []experiment.Metric{{Name: "reward", Title: "reward", Better: "higher", Format: "%.2f", Live: true},
		{Name: "reward_forbidden", Title: "forbidden", Better: "lower", Format: "%.2f", Hidden: true}}
	names := p.names()
	for i, t := range p.terms() {
		m := experiment.Metric{Name: names[i], Title: t.title(), Better: "higher", Format: "%.2f", Aside: true, Hidden: len(p.Rewards) == 1 && t.Factor() == 1}
		if i >= len(p.Rewards) {
			m.Title, m.Hidden, m.Aside = "held-out "+m.Title, false, false
		}
		all = append(all, m, experiment.Metric{Name: m.Name + "_forbidden", Title: m.Title + ", forbidden", Better: "lower", Format: "%.2f", Hidden: true})
	}
	if slices.ContainsFunc(p.Rewards, func(t Term) bool { return t.Truth != "" }) {
		all = append(all, experiment.Metric{Name: "psnr", Title: "PSNR, dB", Better: "higher", Format: "%.2f"})
	}
	return append(all,
		experiment.Metric{Name: "diversity", Title: "diversity", Format: "%.3f"},
		experiment.Metric{Name: "ess_fraction", Title: "ESS", Better: "higher", Format: "%.3f"},
		experiment.Metric{Name: "log_z", Title: "log Ẑ", Format: "%.2f"},
		experiment.Metric{Name: "kl", Title: "KL", Better: "lower", Format: "%.2f", Log: true, Live: true},
		experiment.Metric{Name: "paths", Title: "paths", Work: true, Aside: true},
		experiment.Metric{Name: "network_calls", Title: "calls", Log: true, Work: true},
		experiment.Metric{Name: "seconds", Title: "minutes", Format: "%.2f", Factor: 1. / 60, Log: true, Work: true})
}

// Measure implements [experiment.Problem].
func (p *Problem) Measure(ctx context.Context, _ *experiment.Lab, _ string, s *method.Samples) (experiment.Result, error) {
	return p.measure(ctx, s.X)
}

// measure returns what is known of samples by themselves: the rewards, with the standard errors of their means, and how different the samples are.
func (p *Problem) measure(ctx context.Context, x []float32) (experiment.Result, error) {
	shape := p.size()
	dim := engine.Size(shape)
	n := len(x) / dim
	out, sum := experiment.Result{}, make([]float64, n)
	for i, j := range p.judges {
		values, err := reward.Evaluate(ctx, j.reward, x, nil, n)
		if err != nil {
			return nil, err
		}
		out.Rewarded(j.name, values)
		if i < len(p.Rewards) {
			for k, v := range values {
				sum[k] += p.Rewards[i].Factor() * v
			}
		}
	}
	out.Rewarded("reward", sum)
	if p.truth != nil {
		mean, _ := moments(x, dim)
		out["psnr"] = experiment.Estimate{Value: metric.PSNR(mean, p.truth, dim)[0], SE: math.NaN()}
	}
	if d := metric.Diversity(x, dim); !math.IsNaN(d) {
		out["diversity"] = experiment.Estimate{Value: d, SE: math.NaN()}
	}
	return out, nil
}

// References implements [experiment.Problem]: what the prior's pictures themselves reach, as many as a method draws samples.
func (p *Problem) References(ctx context.Context, l *experiment.Lab) (map[string]experiment.Result, error) {
	p.accuracy = map[string]any{}
	for _, c := range p.networks {
		if c.test.N == 0 {
			continue
		}
		right, err := c.right(ctx, p, l)
		if err != nil {
			return nil, err
		}
		p.accuracy[c.name] = right
	}
	if p.pictures.N < 2 {
		return nil, nil
	}
	some := min(p.Samples, p.pictures.N)
	r, err := p.measure(ctx, p.pictures.Pixels[:some*engine.Size(p.size())])
	delete(r, "psnr")
	return map[string]experiment.Result{"": r}, err
}

// Reference implements [experiment.Problem].
func (*Problem) Reference() string { return "Your pictures" }

// Alike implements [experiment.Problem].
func (*Problem) Alike() []string { return []string{"prior", "rewards"} }

// Describe implements [experiment.Problem].
func (p *Problem) Describe(*experiment.Lab) map[string]any {
	var terms []string
	for _, t := range p.Rewards {
		terms = append(terms, fmt.Sprintf("%g × %s", t.Factor(), t.title()))
	}
	return map[string]any{"prior": p.text(), "rewards": strings.Join(terms, " + "), "classifier_accuracy": p.accuracy}
}

// Notes implements [experiment.Problem].
func (*Problem) Notes(rep *experiment.Report) []string {
	notes := []string{fmt.Sprintf("Prior: %v. Reward: %v, a mean over samples with its standard error.", rep.Extra["prior"], rep.Extra["rewards"]),
		"Diversity is 1 minus the mean cosine similarity of the pixels of two samples. What is held out is measured, and never trained on."}
	if accuracy, ok := rep.Extra["classifier_accuracy"].(map[string]any); ok {
		for _, name := range slices.Sorted(maps.Keys(accuracy)) {
			if right, ok := accuracy[name].(float64); ok {
				notes = append(notes, fmt.Sprintf("Network %s is right about %.0f %% of the pictures that were held back from it, every fifth of a class.", name, 100*right))
			}
		}
	}
	return notes
}
