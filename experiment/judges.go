package experiment

import (
	"context"
	"fmt"
	"math"

	"github.com/doob-diffusion/doob/metric"
	"github.com/doob-diffusion/doob/reward"
)

// Judge is an evaluation reward: samples are measured by it, and nothing is trained on it. What is trained on a reward may please that reward and nobody else.
type Judge struct {
	Name   string // of the metric, after "judge_"
	Title  string // "" means the name
	Reward reward.Reward
}

// Judges are the evaluation rewards of a problem, whose Metrics and Measure have what these return.
type Judges []Judge

// Metrics are the mean of every judge over the samples that it does not forbid, and the share of those that it does.
func (j Judges) Metrics() (out []Metric) {
	for _, judge := range j {
		title := judge.Title
		if title == "" {
			title = judge.Name
		}
		out = append(out, Metric{Name: "judge_" + judge.Name, Title: title, Better: "higher", Format: "%.3f"},
			Metric{Name: "judge_" + judge.Name + "_forbidden", Title: title + ", forbidden", Better: "lower", Format: "%.3f", Hidden: true})
	}
	return out
}

// Measure returns the metrics of n samples x [n, …].
func (j Judges) Measure(ctx context.Context, x []float32, n int) (map[string]float64, error) {
	out := map[string]float64{}
	for _, judge := range j {
		values, err := reward.Evaluate(ctx, judge.Reward, x, nil, n)
		if err != nil {
			return nil, fmt.Errorf("judge %s: %w", judge.Name, err)
		}
		var allowed []float64
		for _, v := range values {
			if !math.IsInf(v, -1) {
				allowed = append(allowed, v)
			}
		}
		if len(allowed) > 0 {
			out["judge_"+judge.Name], _ = metric.MeanSE(allowed)
		}
		out["judge_"+judge.Name+"_forbidden"] = 1 - float64(len(allowed))/float64(n)
	}
	return out, nil
}
