package mnist

import (
	"context"
	"fmt"
	"slices"

	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/experiment/imaging"
	"github.com/doob-diffusion/doob/method"
	"github.com/doob-diffusion/doob/metric"
	"github.com/doob-diffusion/doob/nn"
)

// Metrics implements [experiment.Problem].
func (*Problem) Metrics() []experiment.Metric {
	return []experiment.Metric{
		{Name: "reward", Title: "reward", Better: "higher", Format: "%.2f", Live: true},
		{Name: "fid", Title: "FID", Better: "lower", Format: "%.3f", Log: true, Live: true},
		{Name: "accuracy", Title: "accuracy", Better: "higher", Format: "%.1f", Factor: 100, Unit: " %", Live: true},
		{Name: "overoptimisation", Title: "gap", Better: "lower", Format: "%.1f", Factor: 100, Unit: " points", Aside: true},
		{Name: "diversity", Title: "diversity", Format: "%.3f"},
		{Name: "ess_fraction", Title: "ESS", Better: "higher", Format: "%.3f", Overall: true},
		{Name: "kl", Title: "KL", Better: "lower", Format: "%.2f", Log: true, Overall: true, Live: true},
		{Name: "paths", Title: "paths", Overall: true, Work: true, Aside: true},
		{Name: "network_calls", Title: "calls", Log: true, Overall: true, Work: true},
		{Name: "seconds", Title: "minutes", Format: "%.2f", Factor: 1. / 60, Log: true, Overall: true, Work: true},
	}
}

// References implements [experiment.Problem]: as many training images as a method draws samples, against the test images.
func (p *Problem) References(ctx context.Context, l *experiment.Lab) (map[string]experiment.Result, error) {
	for _, c := range []struct {
		net      nn.Classifier
		accuracy *float64
	}{{p.classifier, &p.accuracy.classifier}, {p.judge, &p.accuracy.judge}} {
		predicted, err := nn.Predict(ctx, l.Engine, c.net, p.images.Test.Pixels, p.images.Test.N, p.Batch, shape...)
		if err != nil {
			return nil, err
		}
		*c.accuracy = metric.Accuracy(predicted, p.images.Test.Labels)
	}
	p.real = map[string][]float32{}
	out := map[string]experiment.Result{}
	for _, task := range p.Classes {
		test, err := p.like(ctx, p.images.Test, task, p.images.Test.N)
		if err != nil {
			return nil, err
		}
		if p.real[task], err = p.features.Of(ctx, test); err != nil {
			return nil, err
		}
		train, err := p.like(ctx, p.images.Train, task, p.Samples)
		if err != nil {
			return nil, err
		}
		if out[task], err = p.measure(ctx, l, task, train); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Measure implements [experiment.Problem].
func (p *Problem) Measure(ctx context.Context, l *experiment.Lab, task string, s *method.Samples) (experiment.Result, error) {
	return p.measure(ctx, l, task, s.X)
}

func (p *Problem) measure(ctx context.Context, l *experiment.Lab, task string, x []float32) (experiment.Result, error) {
	n := len(x) / pixels
	rewards, err := p.rewards[task].Rewards(ctx, x, n)
	if err != nil {
		return nil, err
	}
	f, err := p.features.Of(ctx, x)
	if err != nil {
		return nil, err
	}
	mean, _ := metric.MeanSE(rewards)
	out := map[string]float64{"reward": mean, "fid": metric.FrechetDistance(f, p.real[task], p.features.Size), "diversity": metric.Diversity(f, p.features.Size)}
	if classes(task) != nil {
		accuracy, err := p.share(ctx, l, p.judge, task, x)
		if err != nil {
			return nil, err
		}
		own, err := p.share(ctx, l, p.classifier, task, x)
		if err != nil {
			return nil, err
		}
		out["accuracy"], out["overoptimisation"] = accuracy, own-accuracy
	}
	return experiment.Numbers(out), nil
}

// share returns that of the images which a classifier takes for the classes of a task.
func (p *Problem) share(ctx context.Context, l *experiment.Lab, c nn.Classifier, task string, x []float32) (float64, error) {
	predicted, err := nn.Predict(ctx, l.Engine, c, x, len(x)/pixels, p.Batch, shape...)
	right := 0
	for _, class := range predicted {
		if slices.Contains(classes(task), class) {
			right++
		}
	}
	return float64(right) / float64(len(x)/pixels), err
}

// Reference implements [experiment.Problem].
func (*Problem) Reference() string { return "Real images" }

// Alike implements [experiment.Problem].
func (*Problem) Alike() []string { return []string{"data", "tasks"} }

// Describe implements [experiment.Problem].
func (p *Problem) Describe(*experiment.Lab) map[string]any {
	return map[string]any{"data": p.Data, "classifier_accuracy": p.accuracy.classifier, "judge_accuracy": p.accuracy.judge}
}

// Notes implements [experiment.Problem].
func (*Problem) Notes(rep *experiment.Report) []string {
	notes := []string{"FID is against the test images of the task; real images are as many training images. ESS to minutes are means over all tasks."}
	judged, sized := false, false
	for task := range rep.Tasks { // of a report that was read, the problem knows nothing
		judged, sized = judged || classes(task) != nil, sized || bySize[task] != 0
	}
	if sized {
		notes = append(notes, "Compressible and incompressible: the reward is the size of the image as a JPEG, in standard deviations of that of training images. Images of the task are those drawn again in proportion to exp(r).")
	}
	if judge, ok := rep.Extra["judge_accuracy"].(float64); ok && judged {
		classifier, _ := rep.Extra["classifier_accuracy"].(float64)
		notes = append([]string{fmt.Sprintf("Accuracy is what a judge of another kind (a perceptron, %.2f %% on test images) says; reward and features are those of the classifier (a convolutional network, %.2f %%).",
			100*judge, 100*classifier),
			"Gap is by how many percentage points more samples are of the class to the classifier than to the judge. Beyond that of real images it is over-optimisation: samples that please the reward, and are no better."}, notes...)
	}
	if slices.Contains(rep.Order, "resampled") {
		notes = append(notes, "Base model, resampled: base samples drawn again in proportion to exp(r), the tilted law itself if there are many.")
	}
	if slices.Contains(rep.Order, "importance_rejection") {
		notes = append(notes, "Importance + rejection: paths of the h that importance learned, of which a share is kept by their weights (14).")
	}
	return notes
}

// Cautions implements [experiment.Cautious].
func (p *Problem) Cautions() []string { return imaging.FewSamples(p.Samples, p.Classifier) }
