package serve

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/experiment/superres"
	"github.com/doob-diffusion/doob/experiment/textimage"
)

// work draws until the studio closes.
func (t *studio) work() {
	defer close(t.gone)
	for {
		ctx, j := t.next()
		switch {
		case j != nil:
			err := t.draw(ctx, j)
			j.cancel()
			t.finish(j, err)
		case t.ctx.Err() != nil:
			return
		default:
			select {
			case <-t.wake:
			case <-t.ctx.Done():
			}
		}
	}
}

// next takes the first job of the queue, nil if there is none. What is drawn ends with the context, which ends after a while.
func (t *studio) next() (context.Context, *job) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	for _, j := range t.jobs {
		if j.State == queued && !t.closed {
			var ctx context.Context
			ctx, j.cancel = context.WithTimeout(t.ctx, toDraw)
			j.State, j.began = drawing, time.Now()
			t.record() // it stands there as one that waits, which is lost the same
			return ctx, j
		}
	}
	return nil, nil
}

// tell changes what is shown of a job.
func (t *studio) tell(j *job, change func()) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	change()
}

func (t *studio) stage(j *job, stage string, done, total float64) {
	t.tell(j, func() {
		if j.Stage, j.Done = stage, 0; total > 0 {
			j.Done = done / total
		}
	})
}

func (t *studio) note(j *job, notes ...string) {
	t.tell(j, func() { j.Notes = append(j.Notes, notes...) })
}

// finish notes how a job has ended.
func (t *studio) finish(j *job, err error) {
	var files []product
	dir := t.dir(j)
	os.Remove(filepath.Join(dir, uploaded)) // if there is one
	if err == nil {
		files, err = products(j.ID, dir)
	}
	t.mutex.Lock()
	defer t.mutex.Unlock()
	j.Seconds, j.Stage, j.Files = time.Since(j.began).Seconds(), "", files
	switch {
	case err == nil:
		j.State, j.Done = finished, 1
	case errors.Is(err, context.DeadlineExceeded):
		j.State, j.Error = failed, fmt.Sprintf("it took more than %v: want fewer samples, steps or pixels", toDraw)
	case errors.Is(err, context.Canceled):
		j.State = cancelled
	default:
		j.State, j.Error = failed, t.inner(err.Error())
	}
	if err != nil {
		j.Files = []product{}
	}
	t.trim()
	t.record() // a loss that is told in vain does no harm
}

// inner takes the places of folders on this machine out of a text.
func (t *studio) inner(text string) string {
	text = strings.ReplaceAll(text, filepath.Clean(t.Dir)+string(filepath.Separator), "")
	for _, p := range t.collection.places {
		text = strings.ReplaceAll(text, p.path, p.label)
	}
	return text
}

// products lists what is in the folder of a job.
func products(id, dir string) (files []product, err error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		files = append(files, product{e.Name(), "/api/jobs/" + id + "/files/" + e.Name(), info.Size()})
	}
	return files, err
}

// trim forgets the oldest of what has ended, where there is too much of it.
func (t *studio) trim() {
	n, size := 0, int64(0)
	for _, j := range slices.Backward(slices.Clone(t.jobs)) {
		if j.Active() {
			continue
		}
		n++
		for _, f := range j.Files {
			size += f.Bytes
		}
		if n > mostEnded || n > 1 && size > mostKept {
			t.forget(j)
		}
	}
}

func (t *studio) forget(j *job) {
	t.jobs = slices.DeleteFunc(t.jobs, func(other *job) bool { return other == j })
	os.RemoveAll(t.dir(j)) // what stays is removed at the next start
}

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
	done, err := superres.Restore(ctx, superres.Restoration{Folder: s.path, Picture: filepath.Join(dir, uploaded), Measure: r.Restore.Measure, N: r.N, Steps: r.Steps, Seed: r.Seed,
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
