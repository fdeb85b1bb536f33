package textimage

import (
	"context"
	"maps"
	"math"
	"slices"

	"github.com/doob-diffusion/doob/data/world"
	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/experiment/textimage/smallworld"
	"github.com/doob-diffusion/doob/method"
	"github.com/doob-diffusion/doob/metric"
	"github.com/doob-diffusion/doob/reward"
	"github.com/doob-diffusion/doob/vision"
)

// Metrics implements [experiment.Problem].
func (p *Problem) Metrics() []experiment.Metric {
	all := []experiment.Metric{
		{Name: "reward", Title: "reward", Better: "higher", Format: "%.2f", Live: true},
		{Name: "held_out", Title: "held-out", Better: "higher", Format: "%.2f", Aside: true}}
	for _, s := range p.named() {
		m := experiment.Metric{Name: s.name, Title: s.title, Better: "higher", Format: "%.2f", Aside: true}
		if s.weight == 0 {
			m.Title, m.Aside = "held-out "+s.title, false
		}
		all = append(all, m, experiment.Metric{Name: m.Name + "_forbidden", Title: m.Title + ", forbidden", Better: "lower", Format: "%.2f", Hidden: true})
	}
	return append(all, []experiment.Metric{
		{Name: "success", Title: "success", Better: "higher", Format: "%.0f", Factor: 100, Unit: " %", Live: true},
		{Name: "diversity", Title: "diversity", Better: "higher", Format: "%.3f", Live: true},
		{Name: "diversity_right", Title: "of right ones", Better: "higher", Format: "%.3f", Aside: true},
		{Name: "ess_fraction", Title: "ESS", Better: "higher", Format: "%.3f", Overall: true},
		{Name: "kl", Title: "KL", Better: "lower", Format: "%.2f", Log: true, Overall: true, Live: true},
		{Name: "paths", Title: "paths", Overall: true, Work: true, Aside: true},
		{Name: "network_calls", Title: "calls", Log: true, Overall: true, Work: true},
		{Name: "seconds", Title: "minutes", Format: "%.2f", Factor: 1. / 60, Log: true, Overall: true, Work: true},
		{Name: "peak_memory", Title: "memory", Format: "%.2f", Factor: 1e-9, Unit: " GB", Overall: true, Work: true, Aside: true},
	}...)
}

// judges opens what pictures are judged by.
func (p *Problem) judges(l *experiment.Lab) error {
	height, width := p.size()
	models := func(scope, dir string) (map[string]*reward.Pictured, error) {
		model, err := reward.OpenImageReward(l.Engine, scope, dir, "")
		if err != nil {
			return nil, err
		}
		out := map[string]*reward.Pictured{}
		for _, task := range p.Tasks() {
			var warning string
			if out[task], warning, err = model.For(p.prompt(task), height, width); err != nil {
				return nil, err
			}
			if warning != "" && !slices.Contains(p.warnings, warning) {
				p.warnings = append(p.warnings, warning)
			}
		}
		return out, nil
	}
	p.scorers = p.named()
	for _, s := range p.scorers {
		s.Shape = []int{height, width, 3}
	}
	var err error
	if p.parts.reward != "" {
		if p.rewards, err = models("/reward", p.parts.reward); err != nil {
			return err
		}
	}
	if p.parts.heldOut != "" {
		if p.heldOut, err = models("/held_out", p.parts.heldOut); err != nil {
			return err
		}
	}
	if p.parts.clip != "" {
		if p.clip, err = reward.OpenCLIP(l.Engine, "/clip", p.parts.clip); err != nil {
			return err
		}
	}
	if p.parts.checker != "" {
		p.checker, err = smallworld.OpenChecker(l.Engine, p.parts.checker)
	}
	return err
}

// Measure implements [experiment.Problem].
func (p *Problem) Measure(ctx context.Context, _ *experiment.Lab, task string, s *method.Samples) (experiment.Result, error) {
	n := s.Count * s.Members
	pictures, err := p.draw(ctx, s.X, n)
	if err != nil {
		return nil, err
	}
	return p.measure(ctx, task, pictures, n)
}

func (p *Problem) measure(ctx context.Context, task string, pictures []float32, n int) (experiment.Result, error) {
	out := experiment.Result{}
	for name, judge := range map[string]*reward.Pictured{"reward": p.rewards[task], "held_out": p.heldOut[task]} {
		if judge == nil {
			continue
		}
		values, err := judge.Rewards(ctx, pictures, n)
		if err != nil {
			return nil, err
		}
		mean, se := metric.MeanSE(values)
		out[name] = experiment.Estimate{Value: mean, SE: se}
	}
	outside, err := p.scored(ctx, task, pictures, n)
	if err != nil {
		return nil, err
	}
	right, err := p.right(ctx, task, pictures, n)
	if err != nil {
		return nil, err
	}
	if right != nil {
		count := 0
		for _, ok := range right {
			if ok {
				count++
			}
		}
		share := float64(count) / float64(n)
		out["success"] = experiment.Estimate{Value: share, SE: math.Sqrt(share * (1 - share) / float64(n))}
	}
	if p.clip == nil {
		maps.Copy(out, outside)
		return out, nil
	}
	height, width := p.size()
	dim := 3 * height * width
	var all, good [][]float32
	for i := range n {
		embedding, err := p.clip.Picture(vision.FromSample(pictures[i*dim:(i+1)*dim], height, width))
		if err != nil {
			return nil, err
		}
		if all = append(all, embedding); right != nil && right[i] {
			good = append(good, embedding)
		}
	}
	for name, of := range map[string][][]float32{"diversity": all, "diversity_right": good} {
		if d, se, ok := reward.Diversity(of); ok {
			out[name] = experiment.Estimate{Value: d, SE: se}
		}
	}
	maps.Copy(out, outside)
	return out, nil
}

// scored returns what rewards from outside say of pictures, and the sum that is trained on if it has some of them; nil without any.
func (p *Problem) scored(ctx context.Context, task string, pictures []float32, n int) (experiment.Result, error) {
	if len(p.scorers) == 0 {
		return nil, nil
	}
	out, sum := experiment.Result{}, make([]float64, n)
	if r := p.rewards[task]; r != nil {
		var err error
		if sum, err = r.Rewards(ctx, pictures, n); err != nil {
			return nil, err
		}
	}
	for _, s := range p.scorers {
		values, err := reward.Evaluate(ctx, s.For(p.prompt(task)), pictures, nil, n)
		if err != nil {
			return nil, err
		}
		out.Rewarded(s.name, values)
		for i, v := range values {
			if s.weight != 0 {
				sum[i] += s.weight * v
			}
		}
	}
	if len(p.Scorers) > 0 {
		out.Rewarded("reward", sum)
	}
	return out, nil
}

// right says of pictures of the small world whether they show what the prompt says; nil where that is not known.
func (p *Problem) right(ctx context.Context, task string, pictures []float32, n int) ([]bool, error) {
	caption, known := world.ParseCaption(p.prompt(task))
	if p.checker == nil || !known {
		return nil, nil
	}
	scenes, ok, err := p.checker.Scenes(ctx, pictures, n)
	for i := range ok {
		ok[i] = ok[i] && caption.Shows(scenes[i])
	}
	return ok, err
}
