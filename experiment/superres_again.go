package experiment

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/report"
	"github.com/doob-diffusion/doob/steer"
)

// reopen loads what a run of a folder has trained on data, and prepares its measurements.
func (s *SuperRes) reopen(ctx context.Context, folder string) (*superResRun, error) {
	train, test, err := s.load()
	if err != nil {
		return nil, err
	}
	r, err := s.newRun(&Folder{Path: folder}, train, test)
	if err != nil {
		return nil, err
	}
	if err := r.loadNetworks(folder); err != nil {
		return nil, err
	}
	return r, r.prepare(ctx)
}

// loadNetworks loads the averages of the classifier and the prior.
func (r *superResRun) loadNetworks(folder string) error {
	if r.gaussian() {
		return nil
	}
	classifier, prior := nn.Averaged("/classifier"), nn.Averaged("/base")
	r.classifier(r.engine, classifier).Init(r.key, 1, 0)
	r.prior(r.engine, prior).Velocity.Init(r.key, 0, 0)
	if err := loadParameters(checkpointFile(folder, "classifier"), r.engine, classifier); err != nil {
		return err
	}
	return loadParameters(checkpointFile(folder, "base"), r.engine, prior)
}

func (ev Evaluation) superRes(ctx context.Context, c SuperRes, out *Evaluated, observe Observer) error {
	if ev.N > 0 {
		c.Samples = ev.N
	}
	if ev.From != "" {
		c.From = ev.From
	}
	c.Backend = ev.Backend
	r, err := c.reopen(ctx, ev.Folder)
	if err != nil {
		return err
	}
	out.Experiment, out.Samples = "superres", c.Samples
	s := &superResSeed{superResRun: r, seed: c.Seed, key: seedKey(ev.Seed), first: true}
	for i, name := range superResMethods {
		ev.progress(observe, i, len(superResMethods))
		if !c.wants(name) || !c.learned(name) || !exists(checkpointFile(ev.Folder, name)) {
			continue
		}
		o := &restored{count: c.Measurements, members: c.Samples}
		given := s.these(0, c.Samples)
		if name == "importance_single" {
			o.from, o.count, given = c.Single, 1, s.single(c.Single)
		}
		e := r.engine.Fork()
		h, err := s.load(e, name)
		if err != nil {
			return err
		}
		if err := s.draw(ctx, o, e, h, given, 0); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		result, err := r.measure(ctx, o)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		numbers := map[string]finetune.Number{}
		for _, m := range evaluatedMetrics["superres"] {
			numbers[m.name] = *result.numbers()[m.name]
		}
		out.Methods = append(out.Methods, EvaluatedRow{Method: name, Title: c.title(name), Numbers: numbers})
	}
	ev.progress(observe, len(superResMethods), len(superResMethods))
	return nil
}

// superRes draws from the prior, or from the posterior of one of the run's measurements.
func (d Draw) superRes(ctx context.Context, c *SuperRes) error {
	i := 0
	if d.Task != "" {
		var err error
		if i, err = strconv.Atoi(d.Task); err != nil || i < 0 || i >= c.Measurements {
			return fmt.Errorf("sample: %s has no measurement %q: want a number from 0 to %d", d.Folder, d.Task, c.Measurements-1)
		}
	}
	c.Backend = d.Backend
	r, err := c.reopen(ctx, d.Folder)
	if err != nil {
		return err
	}
	var h diffusion.Control
	if d.Method != "base" {
		s := &superResSeed{superResRun: r, seed: c.Seed, key: seedKey(c.Seed), first: true}
		learned, err := s.load(r.engine, d.Method)
		if err != nil {
			return err
		}
		h = steer.Amplified{Control: learned, Scale: d.Amplify}
	}
	x, err := accepted(ctx, r.sampler(r.engine, h, r.single(i), 0), r.reward, noise.New(d.Seed).Sub("samples"), d.N, d.Accept)
	if err != nil {
		return err
	}
	if filepath.Ext(d.Out) == ".csv" {
		return writeCSV(d.Out, x, r.pixels())
	}
	image := r.image()
	return report.ImageGrid(d.Out, x, d.N, image[0], image[1], image[2], min(8, d.N))
}
