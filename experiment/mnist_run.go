package experiment

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/doob-diffusion/doob/data"
	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/metric"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
)

// mnistRun is a run in progress. Its engine holds the averaged prior and classifiers, which all seeds share.
type mnistRun struct {
	*MNIST
	session
	key      noise.Key // of prior and classifiers
	images   data.MNIST
	prior    diffusion.Network
	judge    nn.CNN
	features *features
	tasks    []*mnistTask
	book     *mnistBook // of all events
}

// mnistTask is one law to sample: the prior tilted by the log probability of some classes.
type mnistTask struct {
	name    string
	classes []int
	reward  *reward.Graphed
	real    []float32 // features of the test images of the classes
}

// Run runs the experiment in a folder, which must be new or empty.
func (m *MNIST) Run(ctx context.Context, folder, backend string, observe Observer) (*MNISTReport, error) {
	images, err := m.load() // before anything is written
	if err != nil {
		return nil, err
	}
	if _, err := engine.Open(backend); err != nil {
		return nil, err
	}
	m.Backend = backend
	f, err := CreateFolder(folder, m)
	if err != nil {
		return nil, err
	}
	return m.perform(ctx, f, nil, images, observe)
}

// resume continues a run in its folder, after the events that it has kept.
func (m *MNIST) resume(ctx context.Context, f *Folder, past []Event, observe Observer) (*MNISTReport, error) {
	images, err := m.load()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return m.perform(ctx, f, past, images, observe)
}

// load reads or draws the images, and settles what data "auto" are.
func (m *MNIST) load() (data.MNIST, error) {
	if m.Data == "digits" {
		return data.Digits(noise.New(0), m.Drawn, m.Drawn/5), nil
	}
	dir := m.From
	var err error
	if dir == "" {
		if dir, err = data.Dir("mnist"); err != nil {
			return data.MNIST{}, err
		}
	}
	images, err := data.LoadMNIST(dir)
	if errors.Is(err, data.ErrMissing) && m.Data == "auto" && m.From == "" {
		m.Data = "digits"
		return m.load()
	}
	if errors.Is(err, data.ErrMissing) {
		err = fmt.Errorf("%w; doob data get mnist fetches them, --from DIR names another folder, --set data=digits draws digits instead", err)
	}
	m.Data = "mnist"
	return images, err
}

func (m *MNIST) perform(ctx context.Context, f *Folder, past []Event, images data.MNIST, observe Observer) (rep *MNISTReport, err error) {
	defer func() { err = errors.Join(err, f.Close()) }()
	start := time.Now()
	e, err := engine.Open(m.Backend)
	if err != nil {
		return nil, err
	}
	r := &mnistRun{MNIST: m, key: noise.New(m.Seed), images: images, book: newMNISTBook(m),
		session: session{experiment: "mnist", seed: m.Seed, engine: e, data: m.Data, dataSum: images.Train.SHA256(), folder: f, ended: map[stage]bool{}}}
	for _, ev := range past {
		if err := r.past(ev); err != nil {
			return nil, err
		}
	}
	r.tell(r.book.add, observe)
	for _, stage := range []func(context.Context) error{r.networks, r.prepare, r.methods} {
		if err := stage(ctx); err != nil {
			return nil, err
		}
	}
	rep = r.book.report(r)
	rep.Seconds = time.Since(start).Seconds()
	if err := r.pictures(ctx, rep); err != nil {
		return nil, err
	}
	return rep, r.complete(rep)
}

// past takes up an event of the run that is resumed.
func (r *mnistRun) past(ev Event) error {
	if raw, ok := ev.Result.(json.RawMessage); ok {
		r.ended[stage{ev.Seed, ev.Task, ev.Stage}] = true
		result := &MNISTResult{}
		if err := json.Unmarshal(raw, result); err != nil {
			return fmt.Errorf("%w %s: events.jsonl: %s of %s: %w", ErrFolder, r.folder.Path, ev.Stage, ev.Task, err)
		}
		if ev.Result = nil; ev.Task != "" {
			ev.Result = result
		}
	}
	r.book.add(ev)
	return nil
}

// networks trains the two classifiers, of which the first is the reward and the second, from another seed, judges the
// samples, and the prior; and loads their averages.
func (r *mnistRun) networks(ctx context.Context) error {
	classify := func(name string) func(e *engine.Engine) (*nn.Trainer, func(int) []any, error) {
		return func(e *engine.Engine) (*nn.Trainer, func(int) []any, error) {
			key, path, s := r.key.Sub(name), "/"+name, r.Classifier.Training
			c := r.classifier(e, path)
			c.Init(key, 1, 0)
			trainer, err := s.Trainer(e, c)
			labels := make([]int32, s.Batch)
			rows := make([]float32, s.Batch*pixels)
			next := batches(key.Sub("batches"), r.images.Train.N, s.Batch)
			return trainer, func(step int) []any {
				for i, j := range next(step) {
					copy(rows[i*pixels:], r.images.Train.At(j))
					labels[i] = int32(r.images.Train.Labels[j])
				}
				return []any{engine.Rows(rows, imageShape...), labels}
			}, err
		}
	}
	pretrain := func(e *engine.Engine) (*nn.Trainer, func(int) []any, error) {
		prior, key := r.MNIST.prior(e, "/base"), r.key.Sub("pretrain")
		prior.Velocity = prior.Velocity.Init(r.key.Sub("base"), 0, 0)
		trainer, err := r.Pretrain.Trainer(e, r.Process.Schedule, prior)
		next := batches(key.Sub("batches"), r.images.Train.N, r.Pretrain.Batch)
		return trainer, r.Pretrain.Inputs(key, r.Process.Schedule, imageShape, func(rows []float32, step int) {
			for i, j := range next(step) {
				copy(rows[i*pixels:], r.images.Train.At(j))
			}
		}), err
	}
	classifier := func(e *engine.Engine, path string) { r.classifier(e, path).Init(r.key, 1, 0) }
	prior := func(e *engine.Engine, path string) { r.MNIST.prior(e, path).Velocity.Init(r.key, 0, 0) }
	for _, n := range []network{
		{"classifier", r.Classifier.Training.Steps, r.Classifier, classifier, classify("classifier")},
		{"judge", r.Classifier.Training.Steps, r.Classifier, classifier, classify("judge")},
		{"base", r.Pretrain.Steps, []any{r.Network, r.Pretrain, r.Process.Schedule}, prior, pretrain},
	} {
		if err := r.obtain(ctx, n); err != nil {
			return fmt.Errorf("%s: %w", n.name, err)
		}
	}
	return nil
}

// prepare makes rewards, features of real images, and what real images reach.
func (r *mnistRun) prepare(ctx context.Context) error {
	classifier := r.classifier(r.engine, nn.Averaged("/classifier"))
	r.prior, r.judge = r.MNIST.prior(r.engine, nn.Averaged("/base")), r.classifier(r.engine, nn.Averaged("/judge"))
	var err error
	if r.features, err = newFeatures(r.engine, classifier, imageShape, r.Batch); err != nil {
		return err
	}
	for _, c := range []struct {
		net      nn.CNN
		accuracy *float64
	}{{classifier, &r.book.classifier}, {r.judge, &r.book.judge}} {
		predicted, err := c.net.Predict(ctx, r.engine, r.images.Test.Pixels, r.images.Test.N, r.Batch, 28, 28)
		if err != nil {
			return err
		}
		*c.accuracy = metric.Accuracy(predicted, r.images.Test.Labels)
	}
	for _, name := range r.Tasks {
		t := &mnistTask{name: name, classes: classes(name)}
		if t.reward, err = reward.NewClass(r.engine, classifier, t.classes, r.Scale, imageShape, r.Batch); err != nil {
			return err
		}
		if t.real, err = r.features.of(ctx, only(r.images.Test, t.classes, r.images.Test.N)); err != nil {
			return err
		}
		floor, err := r.metrics(ctx, t, only(r.images.Train, t.classes, r.Samples))
		if err != nil {
			return err
		}
		r.book.floor[name] = floor
		r.tasks = append(r.tasks, t)
	}
	return nil
}

// methods runs every method on every task with every seed, except what was done before the run was resumed.
func (r *mnistRun) methods(ctx context.Context) error {
	for s := range r.Seeds {
		seed := &mnistSeed{mnistRun: r, seed: r.Seed + uint64(s), key: seedKey(r.Seed + uint64(s)), first: s == 0}
		for _, t := range r.tasks {
			for _, name := range r.Methods {
				if r.ended[stage{seed.seed, t.name, name}] {
					continue
				}
				if err := seed.method(ctx, t, name); err != nil {
					return fmt.Errorf("%s of %s, seed %d: %w", name, t.name, seed.seed, err)
				}
				if err := r.folder.Err(); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// seedKey is where the randomness of a repetition comes from.
func seedKey(seed uint64) noise.Key { return noise.New(seed).Sub("repetition") }

// only returns the pixels of the first n images of some classes.
func only(im data.Images, classes []int, n int) []float32 {
	var out []float32
	for i := range im.N {
		for _, c := range classes {
			if im.Labels[i] == c && len(out) < n*pixels {
				out = append(out, im.At(i)...)
			}
		}
	}
	return out
}

// exists reports whether there is a file.
func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
