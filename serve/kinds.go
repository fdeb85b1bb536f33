package serve

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/experiment/restore"
	"github.com/doob-diffusion/doob/experiment/textimage"
)

// draw draws what a job asks for into its folder. A bug in it must not end the server.
func (t *studio) draw(ctx context.Context, j *job) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("a bug in doob: %v", r)
		}
	}()
	r := j.Request
	s, found, err := t.collection.source(r.From) // which may have changed while it waited
	if !found {
		return fmt.Errorf("%w: %q", errSource, r.From)
	}
	if err != nil {
		return err
	}
	switch {
	case r.Sample != nil:
		return t.sample(ctx, j, s)
	case r.Generate != nil:
		return t.generate(ctx, j, s)
	}
	return t.restore(ctx, j, s)
}

func (t *studio) sample(ctx context.Context, j *job, s source) error {
	r := j.Request
	t.stage(j, "reading", 0, 0)
	o, notes, err := t.models.open(t.ctx, s)
	t.note(j, notes...)
	if err != nil {
		return err
	}
	t.stage(j, "sampling", 0, 0)
	d := experiment.Draw{Method: r.Sample.Method, Task: r.Sample.Task, N: r.N, Seed: r.Seed, Steps: r.Steps, Amplify: r.Sample.Strength,
		Out: filepath.Join(t.dir(j), "samples."+r.Sample.Format), Observe: func(done, total float64) { t.stage(j, "sampling", done, total) }}
	_, err = o.Sample(ctx, d)
	return err
}

func (t *studio) generate(ctx context.Context, j *job, s source) error {
	r, p := j.Request, j.Request.Generate
	g := textimage.Generation{Model: s.model, Prompt: p.Prompt, Negative: p.Negative, N: r.N, Steps: r.Steps, Eta: p.Eta, Guidance: p.Guidance, Height: p.Height, Width: p.Width,
		Seed: r.Seed, Out: filepath.Join(t.dir(j), "%02d.png"), Backend: t.Backend, Observe: func(ev textimage.Event) {
			if ev.Warning != "" {
				t.note(j, ev.Warning)
				return
			}
			t.stage(j, ev.Stage, float64(ev.Done), float64(ev.Total))
		}}
	if p.LoRA != "" {
		file, ok := s.loras[p.LoRA]
		if !ok {
			return fmt.Errorf("%w: there is no adapter %q any more", errRequest, p.LoRA)
		}
		g.Adapters = []textimage.Adapter{{Path: file, Scale: p.Strength}}
	}
	t.stage(j, "planning", 0, 0)
	plan, err := textimage.NewPlan(g)
	if err != nil {
		return err
	}
	notes, err := t.models.room(s.Name, plan.Memory)
	if t.note(j, notes...); err != nil {
		return err
	}
	t.note(j, fmt.Sprintf("planned: about %s of memory, and at least %v", bytesText(int64(plan.Memory)), (time.Duration(plan.Seconds*1e3)*time.Millisecond).Round(10*time.Millisecond)))
	_, err = textimage.Generate(ctx, g)
	return err
}

func (t *studio) restore(ctx context.Context, j *job, s source) error {
	r := j.Request
	t.stage(j, "reading", 0, 0)
	need, err := experiment.Weights(s.path)
	if err != nil {
		return err
	}
	notes, err := t.models.room(s.Name, need)
	if t.note(j, notes...); err != nil {
		return err
	}
	dir := t.dir(j)
	done, err := restore.Restore(ctx, restore.Restoration{Folder: s.path, Picture: filepath.Join(dir, uploaded), Measure: r.Restore.Measure, N: r.N, Steps: r.Steps, Seed: r.Seed,
		Out: filepath.Join(dir, "restored.png"), Backend: t.Backend, Observe: func(done, total int) { t.stage(j, "restoring", float64(done), float64(total)) }})
	if err != nil {
		return err
	}
	t.note(j, fmt.Sprintf("%s, noise of sd %g, %d tiles: residual %.2f (1 fits the measurement as well as the truth would)", done.Operator, done.Sigma, done.Tiles, done.Residual))
	if r.Restore.Measure {
		t.note(j, fmt.Sprintf("against the picture: PSNR %.2f dB, SSIM %.3f", done.PSNR, done.SSIM))
	}
	return nil
}
