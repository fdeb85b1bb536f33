package experiment

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/doob-diffusion/doob/data"
	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
)

// superResRun is a run in progress. Its engine holds the averaged prior and classifier, which all seeds share.
type superResRun struct {
	*SuperRes
	session
	key         noise.Key // of networks and measurements
	train, test data.Images
	base        diffusion.Model
	reward      *reward.Inverse
	spread      float64         // ‖A‖²: AAᵀ ≈ spread·I, or less
	clean       []float32       // Ax of training images, without noise: what importance fine-tuning measures
	truth       []float32       // [Measurements, …]
	measured    []float32       // [Measurements, …], of truth
	features    *features       // nil for Gaussian data
	real        []float32       // features of the test images
	exact       *exactPosterior // of Gaussian data
	book        *superResBook
}

// Run runs the experiment in a folder, which must be new or empty.
func (s *SuperRes) Run(ctx context.Context, folder, backend string, observe Observer) (*SuperResReport, error) {
	train, test, err := s.load() // before anything is written
	if err != nil {
		return nil, err
	}
	if _, err := engine.Open(backend); err != nil {
		return nil, err
	}
	s.Backend = backend
	f, err := CreateFolder(folder, s)
	if err != nil {
		return nil, err
	}
	return s.perform(ctx, f, nil, train, test, observe)
}

// resume continues a run in its folder, after the events that it has kept.
func (s *SuperRes) resume(ctx context.Context, f *Folder, past []Event, observe Observer) (*SuperResReport, error) {
	train, test, err := s.load()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return s.perform(ctx, f, past, train, test, observe)
}

func (s *SuperRes) perform(ctx context.Context, f *Folder, past []Event, train, test data.Images, observe Observer) (rep *SuperResReport, err error) {
	defer func() { err = errors.Join(err, f.Close()) }()
	start := time.Now()
	r, err := s.newRun(f, train, test)
	if err != nil {
		return nil, err
	}
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
	floor, err := r.floor(ctx)
	if err != nil {
		return nil, err
	}
	rep = r.book.report(r, floor)
	rep.Seconds = time.Since(start).Seconds()
	if err := r.pictures(ctx, rep); err != nil {
		return nil, err
	}
	return rep, r.complete(rep)
}

// newRun returns a run on its data that has done nothing yet.
func (s *SuperRes) newRun(f *Folder, train, test data.Images) (*superResRun, error) {
	e, err := engine.Open(s.Backend)
	if err != nil {
		return nil, err
	}
	return &superResRun{SuperRes: s, key: noise.New(s.Seed), train: train, test: test, book: newSuperResBook(s),
		session: session{experiment: "superres", seed: s.Seed, engine: e, data: s.Data, dataSum: train.SHA256(), folder: f, ended: map[stage]bool{}}}, nil
}

// past takes up an event of the run that is resumed.
func (r *superResRun) past(ev Event) error {
	if raw, ok := ev.Result.(json.RawMessage); ok {
		r.ended[stage{ev.Seed, ev.Task, ev.Stage}] = true
		ev.Result = nil
		if slices.Contains(r.Methods, ev.Stage) {
			result := &SuperResResult{}
			if err := json.Unmarshal(raw, result); err != nil {
				return fmt.Errorf("%w %s: events.jsonl: %s: %w", ErrFolder, r.folder.Path, ev.Stage, err)
			}
			ev.Result = result
		}
	}
	r.book.add(ev)
	return nil
}

// load reads or draws the images, and settles what data "auto" are.
func (s *SuperRes) load() (train, test data.Images, err error) {
	train, test, err = s.read()
	if err == nil && test.N < s.Measurements {
		err = fmt.Errorf("%w: measurements is %d, but there are %d test images", ErrConfig, s.Measurements, test.N)
	}
	return train, test, err
}

func (s *SuperRes) read() (train, test data.Images, err error) {
	switch s.Data {
	case "digits":
		digits := data.Digits(noise.New(0), s.Drawn, s.Drawn/5)
		return digits.Train, digits.Test, nil
	case "gaussian":
		return s.Gaussian.images(learnable, noise.New(0).Sub("train")), s.Gaussian.images(s.Measurements, noise.New(0).Sub("test")), nil
	}
	dir := s.From
	if dir == "" {
		if dir, err = data.Dir("flowers102"); err != nil {
			return train, test, err
		}
	}
	flowers, err := data.LoadFlowers(dir)
	if errors.Is(err, data.ErrMissing) && s.Data == "auto" && s.From == "" {
		s.Data = "digits"
		return s.read()
	}
	if errors.Is(err, data.ErrMissing) {
		err = fmt.Errorf("%w; doob data get flowers102 fetches them, --from DIR names another folder, --set data=digits draws digits instead", err)
	}
	s.Data = "flowers102"
	return flowers.Train, flowers.Test, err
}

// networks trains the classifier whose features are used, and the prior, and loads their averages.
func (r *superResRun) networks(ctx context.Context) error {
	if r.gaussian() {
		return nil
	}
	image := r.image()
	classify := func(e *engine.Engine) (*nn.Trainer, func(int) []any, error) {
		key, s := r.key.Sub("classifier"), r.Classifier.Training
		c := r.classifier(e, "/classifier")
		c.Init(key, 1, 0)
		trainer, err := s.Trainer(e, c)
		labels, rows := make([]int32, s.Batch), make([]float32, s.Batch*r.pixels())
		next := batches(key.Sub("batches"), r.train.N, s.Batch)
		return trainer, func(step int) []any {
			for i, j := range next(step) {
				r.picture(rows[i*r.pixels():], j, key, step, i)
				labels[i] = int32(r.train.Labels[j])
			}
			return []any{engine.Rows(rows, image...), labels}
		}, err
	}
	pretrain := func(e *engine.Engine) (*nn.Trainer, func(int) []any, error) {
		prior, key := r.SuperRes.prior(e, "/base"), r.key.Sub("pretrain")
		prior.Velocity = prior.Velocity.Init(r.key.Sub("base"), 0, 0)
		trainer, err := r.Pretrain.Trainer(e, r.Process.Schedule, prior)
		next := batches(key.Sub("batches"), r.train.N, r.Pretrain.Batch)
		return trainer, r.Pretrain.Inputs(key, r.Process.Schedule, image, func(rows []float32, step int) {
			for i, j := range next(step) {
				r.picture(rows[i*r.pixels():], j, key, step, i)
			}
		}), err
	}
	for _, n := range []network{
		{"classifier", r.Classifier.Training.Steps, []any{r.Classifier, r.Flip},
			func(e *engine.Engine, path string) { r.classifier(e, path).Init(r.key, 1, 0) }, classify},
		{"base", r.Pretrain.Steps, []any{r.Network, r.Pretrain, r.Process.Schedule, r.Flip},
			func(e *engine.Engine, path string) { r.SuperRes.prior(e, path).Velocity.Init(r.key, 0, 0) }, pretrain},
	} {
		if err := r.obtain(ctx, n); err != nil {
			return fmt.Errorf("%s: %w", n.name, err)
		}
	}
	return nil
}

// picture copies training image j, mirrored for half of all places i in the batches if the run flips.
func (r *superResRun) picture(dst []float32, j int, key noise.Key, step, i int) {
	copy(dst, r.train.At(j))
	if !r.Flip || key.Sub("flip").Uniform(uint64(step), uint32(i)) < 0.5 {
		return
	}
	width, channels := r.train.Width, r.train.Channels
	for row := range slices.Chunk(dst[:r.pixels()], width*channels) {
		for x := range width / 2 {
			for c := range channels {
				a, b := x*channels+c, (width-1-x)*channels+c
				row[a], row[b] = row[b], row[a]
			}
		}
	}
}

// pixels returns the numbers in an image.
func (s *SuperRes) pixels() int { return engine.Size(s.image()) }
