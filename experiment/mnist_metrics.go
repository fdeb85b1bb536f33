package experiment

import (
	"context"
	"fmt"
	"slices"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/metric"
	"github.com/doob-diffusion/doob/nn"
)

// features are the penultimate layer of the classifier, in which Fréchet distance and diversity are measured.
type features struct {
	program *engine.Program
	size    int
	batch   int
	image   []int
}

func newFeatures(e *engine.Engine, c nn.CNN, image []int, batch int) (*features, error) {
	program, err := e.Compile(func(in []*graph.Node) []*graph.Node { return []*graph.Node{c.Features(in[0])} })
	return &features{program: program, size: c.FeatureSize(), batch: batch, image: image}, err
}

// of returns the features of images, [n, size].
func (f *features) of(ctx context.Context, x []float32) ([]float32, error) {
	return f.program.Map(ctx, x, len(x)/engine.Size(f.image), f.batch, f.image...)
}

// metrics measures samples x of a task.
func (r *mnistRun) metrics(ctx context.Context, t *mnistTask, x []float32) (MNISTMetrics, error) {
	n := len(x) / pixels
	for i, v := range x {
		if !(v-v == 0) { // a diverged sample has no features
			return MNISTMetrics{}, fmt.Errorf("sample %d of %d has a pixel that is %g", i/pixels, n, v)
		}
	}
	rewards, err := t.reward.Rewards(ctx, x, n)
	if err != nil {
		return MNISTMetrics{}, err
	}
	f, err := r.features.of(ctx, x)
	if err != nil {
		return MNISTMetrics{}, err
	}
	judged, err := r.judge.Predict(ctx, r.engine, x, n, r.Batch, 28, 28)
	if err != nil {
		return MNISTMetrics{}, err
	}
	right := 0
	for _, class := range judged {
		if slices.Contains(t.classes, class) {
			right++
		}
	}
	mean, _ := metric.MeanSE(rewards)
	return MNISTMetrics{Reward: finetune.Number(mean), FID: finetune.Number(metric.FrechetDistance(f, t.real, r.features.size)),
		Accuracy: finetune.Number(float64(right) / float64(n)), Diversity: finetune.Number(metric.Diversity(f, r.features.size))}, nil
}
