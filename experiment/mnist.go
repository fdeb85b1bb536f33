package experiment

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/doob-diffusion/doob/data"
	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/metric"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/report"
	"github.com/doob-diffusion/doob/reward"
)

// MNIST fine-tunes a prior over handwritten digits to one class (section 4.3, C.3), here with perceptrons.
type MNIST struct {
	Experiment string                `yaml:"experiment"` // "mnist"
	Seed       uint64                `yaml:"seed"`
	From       string                `yaml:"from"` // folder with the four files; "" means that of the store, see [data.Dir]
	Class      int                   `yaml:"class"`
	Scale      float64               `yaml:"scale"` // of the log probability
	Process    Process               `yaml:"process"`
	Network    Network               `yaml:"network"`
	Residual   float64               `yaml:"residual"` // of the prior, see [diffusion.Perceptron]
	H          Control               `yaml:"h"`
	Classifier ClassifierConfig      `yaml:"classifier"`
	Pretrain   diffusion.Pretraining `yaml:"pretrain"`
	Importance Loop                  `yaml:"importance"`
	Samples    int                   `yaml:"samples"`
	Batch      int                   `yaml:"batch"`
}

// ClassifierConfig is the size and training of a classifier.
type ClassifierConfig struct {
	Network  `yaml:",inline"`
	Training nn.Classification `yaml:",inline"`
}

// MNISTReport is report.json.
type MNISTReport struct {
	Experiment         string                 `json:"experiment"`
	Seed               uint64                 `json:"seed"`
	Data               string                 `json:"data"`
	Backend            string                 `json:"backend"`
	Version            string                 `json:"version"`
	Class              int                    `json:"class"`
	ClassifierAccuracy finetune.Number        `json:"classifier_accuracy"` // of the reward's, on the test images
	JudgeAccuracy      finetune.Number        `json:"judge_accuracy"`      // of the second one, trained on other seeds
	Methods            map[string]MNISTResult `json:"methods"`
	Seconds            float64                `json:"seconds"`
}

// MNISTResult is one method's line.
type MNISTResult struct {
	Single struct {
		Reward   finetune.Number `json:"reward"`   // mean over the samples
		Accuracy finetune.Number `json:"accuracy"` // share that the second classifier takes for the class
	} `json:"single"`
	ESSFraction  finetune.Number `json:"ess_fraction"`
	KL           finetune.Number `json:"kl"`
	Paths        int64           `json:"paths"`
	NetworkCalls int64           `json:"network_calls"`
	Seconds      float64         `json:"seconds"`
}

var imageShape = []int{28, 28, 1}

const pixels = 28 * 28

// LoadMNISTConfig reads a configuration: a preset, then a file (if named), then key=value settings.
func LoadMNISTConfig(preset, file string, sets []string) (*MNIST, error) {
	m := &MNIST{Experiment: "mnist", Seed: 1}
	if err := decode(m, "mnist", preset, file, sets); err != nil {
		return nil, err
	}
	return m, m.validate()
}

func (m *MNIST) validate() error {
	c := &check{}
	c.that(m.Experiment == "mnist", "experiment is %q, want mnist", m.Experiment)
	c.that(m.Class >= 0 && m.Class <= 9, "class is %d, want a digit from 0 to 9", m.Class)
	c.that(m.Residual >= 0, "residual is %g, want at least 0", m.Residual)
	c.that(m.Scale > 0, "scale is %g, want a positive number", m.Scale)
	m.Process.check(c)
	m.Network.check("network", c)
	m.H.check("h", c)
	c.positive("h.scale_width", m.H.ScaleWidth)
	m.Classifier.check("classifier", c)
	c.positive("classifier.steps", m.Classifier.Training.Steps)
	c.positive("classifier.batch", m.Classifier.Training.Batch)
	c.positive("pretrain.steps", m.Pretrain.Steps)
	c.positive("pretrain.batch", m.Pretrain.Batch)
	c.optimizer("classifier", m.Classifier.Training.Optimizer)
	c.optimizer("pretrain", m.Pretrain.Optimizer)
	m.Importance.check("importance", c)
	c.positive("samples", m.Samples)
	c.positive("batch", m.Batch)
	return c.err()
}

// mnistRun is a run in progress.
type mnistRun struct {
	*MNIST
	engine  *engine.Engine
	key     noise.Key
	images  data.MNIST
	prior   diffusion.Perceptron
	reward  *reward.Graphed
	judge   nn.Classifier
	observe Observer
	folder  *Folder
	report  *MNISTReport
}

// Run runs the experiment in a folder, which must be new or empty.
func (m *MNIST) Run(ctx context.Context, folder, backend string, observe Observer) (rep *MNISTReport, err error) {
	start := time.Now()
	e, err := engine.Open(backend)
	if err != nil {
		return nil, err
	}
	dir := m.From
	if dir == "" {
		if dir, err = data.Dir("mnist"); err != nil {
			return nil, err
		}
	}
	images, err := data.LoadMNIST(dir)
	if errors.Is(err, data.ErrMissing) {
		return nil, fmt.Errorf("%w; doob data get mnist fetches them, --from DIR names another folder", err)
	}
	if err != nil {
		return nil, err
	}
	f, err := CreateFolder(folder, m)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	run := &mnistRun{MNIST: m, engine: e, key: noise.New(m.Seed), images: images, folder: f,
		observe: func(ev Event) { f.Event(ev); observe(ev) },
		report: &MNISTReport{Experiment: "mnist", Seed: m.Seed, Data: "mnist", Backend: e.Name, Version: Version(), Class: m.Class,
			Methods: map[string]MNISTResult{}}}
	for _, stage := range []func(context.Context) error{run.trainClassifiers, run.pretrain, run.sampleBase, run.fineTune} {
		if err := stage(ctx); err != nil {
			return nil, err
		}
	}
	run.report.Seconds = time.Since(start).Seconds()
	if err := run.writeReport(); err != nil {
		return nil, err
	}
	if err := f.Err(); err != nil {
		return nil, err
	}
	return run.report, f.WriteJSON("report.json", run.report)
}

// trainClassifiers fits two classifiers: the first is the reward, the second, from another seed, judges the samples.
func (r *mnistRun) trainClassifiers(ctx context.Context) error {
	for _, c := range []struct {
		name     string
		accuracy *finetune.Number
	}{{"classifier", &r.report.ClassifierAccuracy}, {"judge", &r.report.JudgeAccuracy}} {
		key, path := r.key.Sub(c.name), "/"+c.name
		net := r.classifier(r.engine, path, key)
		batches := data.NewBatches(key.Sub("batches"), r.images.Train.N)
		index := make([]int, r.Classifier.Training.Batch)
		err := net.Fit(ctx, r.engine, path, r.Classifier.Training, imageShape, func(rows []float32, labels []int32, _ int) {
			batches.Next(index)
			for i, j := range index {
				copy(rows[i*pixels:], r.images.Train.At(j))
				labels[i] = int32(r.images.Train.Labels[j])
			}
		}, r.progress(c.name, r.Classifier.Training.Steps))
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		predicted, err := net.Predict(ctx, r.engine, r.images.Test.Pixels, 250)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		*c.accuracy = finetune.Number(metric.Accuracy(predicted, r.images.Test.Labels))
		if c.name == "judge" {
			r.judge = net
			continue
		}
		if r.reward, err = reward.NewClass(r.engine, net, []int{r.Class}, r.Scale, imageShape, r.Batch); err != nil {
			return err
		}
	}
	return saveParameters(r.folder.File("checkpoint", "classifier.safetensors"), r.engine, r.metadata(), "/classifier")
}

// pretrain fits the unconditional prior.
func (r *mnistRun) pretrain(ctx context.Context) error {
	key := r.key.Sub("pretrain")
	r.prior = r.priorModel(r.engine, "/base", r.key.Sub("base"))
	batches := data.NewBatches(key.Sub("batches"), r.images.Train.N)
	index := make([]int, r.Pretrain.Batch)
	err := r.Pretrain.Run(ctx, r.engine, "/base", r.Process.Schedule, r.prior, r.Process.Power, imageShape, key, func(rows []float32, _ int) {
		batches.Next(index)
		for i, j := range index {
			copy(rows[i*pixels:], r.images.Train.At(j))
		}
	}, r.progress("pretrain", r.Pretrain.Steps))
	if err == nil || ctx.Err() != nil { // an interrupted prior has learned something too
		err = errors.Join(err, saveParameters(r.folder.File("checkpoint", "base.safetensors"), r.engine, r.metadata(), nn.Averaged("/base")))
	}
	if err != nil {
		return fmt.Errorf("pretrain: %w", err)
	}
	r.prior.MLP = r.prior.MLP.At(r.engine.Scope(nn.Averaged("/base")))
	return nil
}

func (r *mnistRun) sampleBase(ctx context.Context) error {
	e, err := r.engine.Fork()
	if err != nil {
		return err
	}
	r.observe(Event{Seed: r.Seed, Stage: "base", Total: 1})
	return r.measure(ctx, "base", nil, time.Now(), e)
}

// fineTune is Algorithm 1 with the reward-informed h.
func (r *mnistRun) fineTune(ctx context.Context) error {
	const name = "importance"
	start, key, path := time.Now(), r.key.Sub(name), "/h/"+name
	e, err := r.engine.Fork()
	if err != nil {
		return err
	}
	r.observe(Event{Seed: r.Seed, Stage: name, Total: r.Importance.Iterations})
	h := r.control(e, path, r.reward, r.key.Sub("h"))
	training := r.Importance.Training
	training.Optimizer.Decay = r.Importance.Iterations * training.Updates
	sampler := r.sampler(e, r.prior, h)
	objective, err := finetune.NewSupervised(sampler, h, path, training, r.Process.Power, r.Importance.KL)
	if err != nil {
		return err
	}
	h = averaged(e, h)
	sampler.Control = h
	err = (&finetune.FineTuning{Sampler: sampler, Reward: r.reward, Selector: finetune.Relaxed{Rate: r.Importance.Acceptance},
		Objective: objective, Buffer: &finetune.Buffer{Capacity: r.Importance.Buffer, Dim: pixels},
		Iterations: r.Importance.Iterations, Paths: r.Importance.Paths, Key: key, Observe: func(ev finetune.Event) {
			r.observe(Event{Seed: r.Seed, Stage: name, Done: ev.Iteration, Total: ev.Iterations, Iteration: &ev})
		}}).Run(ctx)
	if err == nil || ctx.Err() != nil { // an interrupted method has learned something too
		err = errors.Join(err, saveParameters(r.folder.File("checkpoint", name+".safetensors"), e, r.metadata(), nn.Averaged(path)))
	}
	if err == nil {
		err = r.measure(ctx, name, h, start, e)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// measure draws from P^h, writes a grid, and fills a line of the report.
func (r *mnistRun) measure(ctx context.Context, name string, h diffusion.Control, start time.Time, e *engine.Engine) error {
	paths, err := r.sampler(e, r.prior, h).Run(ctx, noise.New(r.Seed).Sub("samples"), r.Samples, nil)
	if err != nil {
		return err
	}
	weighted, err := finetune.Weigh(ctx, paths, r.reward)
	if err != nil {
		return err
	}
	judged, err := r.judge.Predict(ctx, e, paths.X, 250)
	if err != nil {
		return err
	}
	d := weighted.Diagnostics()
	result := MNISTResult{ESSFraction: d.ESS, KL: d.KL, Paths: e.Paths(), NetworkCalls: e.NetworkCalls(), Seconds: time.Since(start).Seconds()}
	result.Single.Reward, result.Single.Accuracy = d.Reward, finetune.Number(metric.Accuracy(judged, slices.Repeat([]int{r.Class}, paths.N)))
	r.report.Methods[name] = result
	total := 1
	if h != nil {
		total = r.Importance.Iterations
	}
	r.observe(Event{Seed: r.Seed, Stage: name, Done: total, Total: total, Result: result})
	shown := min(64, paths.N)
	return report.ImageGrid(r.folder.File("samples", name+".png"), paths.X[:shown*pixels], shown, 28, 28, 1, 8)
}

func (r *mnistRun) writeReport() error {
	table := r.report.Table()
	return report.HTML(r.folder.File("report.html"), report.Document{
		Title: fmt.Sprintf("MNIST, tilted toward the digit %d", r.Class),
		Subtitle: fmt.Sprintf("doob run mnist · perceptrons · seed %d · classifier accuracy %.1f %% · %.0f s", r.Seed,
			100*float64(r.report.ClassifierAccuracy), r.report.Seconds),
		Sections: []report.Section{{Heading: "Prior and posterior", Table: &table, Images: []report.Image{
			{Path: r.folder.File("samples", "base.png"), Caption: "Prior: samples of the base model."},
			{Path: r.folder.File("samples", "importance.png"), Caption: "Posterior: the same noise, under the fine-tuned control."},
		}}}})
}

// Table is the report's table for people.
func (rep *MNISTReport) Table() report.Table {
	t := report.Table{Columns: []report.Column{{Name: "method"}, {Name: "accuracy", Right: true}, {Name: "reward", Right: true},
		{Name: "ESS", Right: true}, {Name: "KL", Right: true}, {Name: "paths", Right: true}, {Name: "calls", Right: true}, {Name: "seconds", Right: true}}}
	for _, name := range []string{"base", "importance"} {
		m, ok := rep.Methods[name]
		if !ok {
			continue
		}
		t.Rows = append(t.Rows, []string{toyTitles[name], fmt.Sprintf("%.1f %%", 100*float64(m.Single.Accuracy)), signed(fmt.Sprintf("%.2f", float64(m.Single.Reward))),
			fmt.Sprintf("%.3f", float64(m.ESSFraction)), fmt.Sprintf("%.2f", float64(m.KL)), metricCount(float64(m.Paths)), metricCount(float64(m.NetworkCalls)),
			fmt.Sprintf("%.0f", m.Seconds)})
	}
	t.Notes = []string{fmt.Sprintf("Accuracy: share of the samples that a second classifier (%.1f %% on the test images) takes for a %d.",
		100*float64(rep.JudgeAccuracy), rep.Class)}
	return t
}

func (r *mnistRun) progress(stage string, steps int) func(step int, loss float64) {
	r.observe(Event{Seed: r.Seed, Stage: stage, Total: steps})
	return func(step int, loss float64) {
		if step%20 == 0 || step == steps {
			value := finetune.Number(loss)
			r.observe(Event{Seed: r.Seed, Stage: stage, Done: step, Total: steps, Loss: &value})
		}
	}
}

func (m *MNIST) metadata() map[string]string {
	return map[string]string{"experiment": "mnist", "seed": fmt.Sprint(m.Seed), "version": Version(), "data": "mnist"}
}

func (m *MNIST) priorModel(e *engine.Engine, path string, key noise.Key) diffusion.Perceptron {
	return diffusion.Perceptron{Schedule: m.Process.Schedule, Residual: m.Residual, MLP: nn.MLP{Scope: e.Scope(path), In: pixels, Out: pixels,
		Width: m.Network.Width, Depth: m.Network.Depth, Octaves: m.Network.Octaves, Timed: true}.Init(key, 0, 0)}
}

func (m *MNIST) classifier(e *engine.Engine, path string, key noise.Key) nn.Classifier {
	return nn.Classifier{MLP: nn.MLP{Scope: e.Scope(path), In: pixels, Out: 10, Width: m.Classifier.Width, Depth: m.Classifier.Depth, Octaves: m.Classifier.Octaves}.Init(key, 1, 0)}
}

func (m *MNIST) control(e *engine.Engine, path string, r reward.Differentiable, key noise.Key) htransform.RewardInformed {
	return htransform.NewRewardInformed(htransform.Network{Scope: e.Scope(path), Width: m.H.Width, Depth: m.H.Depth, Octaves: m.H.Octaves,
		ScaleWidth: m.H.ScaleWidth, Start: m.H.Start}, r, pixels, key)
}

func (m *MNIST) sampler(e *engine.Engine, base diffusion.Model, h diffusion.Control) *diffusion.Sampler {
	return &diffusion.Sampler{Engine: e, Schedule: m.Process.Schedule, Steps: m.Process.steps(0), Shape: imageShape, Base: base,
		Control: h, Batch: m.Batch}
}
