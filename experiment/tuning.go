package experiment

import (
	"context"
	"errors"
	"time"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/finetune"
)

// tuning is a stage that fine-tunes an h, whose parameters are below a path of an engine of its own.
type tuning struct {
	stage
	engine    *engine.Engine
	path      string
	algorithm *finetune.FineTuning
	preview   func(done int) error // before the first iteration and after every one
}

// tune runs Algorithm 1, from the snapshot of the stage if there is one, and keeps a snapshot after every iteration. It
// returns what to add to the seconds that it took: those of earlier processes, less those of the previews.
func (r *session) tune(ctx context.Context, t tuning) (seconds float64, err error) {
	if s := r.folder.Resumed(t.seed, t.task, t.name); s != nil {
		if seconds, err = t.resume(s); err != nil {
			return 0, err
		}
	}
	start := time.Now()
	preview := func(done int) error {
		begin := time.Now()
		err := t.preview(done)
		seconds -= time.Since(begin).Seconds()
		return err
	}
	if t.algorithm.Start == 0 {
		if err := preview(0); err != nil {
			return 0, err
		}
	}
	t.algorithm.Observe = func(ev finetune.Event) {
		r.observe(Event{Seed: t.seed, Task: t.task, Stage: t.name, Done: ev.Iteration, Total: ev.Iterations, Iteration: &ev})
	}
	t.algorithm.Keep = func(done int) error {
		if err := preview(done); err != nil {
			return err
		}
		tensors, err := t.snapshot(seconds + time.Since(start).Seconds())
		if err != nil {
			return err
		}
		return r.folder.Keep(Snapshot{Seed: t.seed, Task: t.task, Stage: t.name, Done: done, Tensors: tensors})
	}
	err = t.algorithm.Run(ctx)
	return seconds, err
}

// snapshot holds all that the stage needs to go on after an iteration.
func (t tuning) snapshot(seconds float64) (map[string]checkpoint.Tensor, error) {
	tensors, err := variables(t.engine, stateOf(t.path)...)
	if err != nil {
		return nil, err
	}
	b := t.algorithm.Buffer
	rows, next := b.State()
	tensors["buffer/rows"] = checkpoint.Tensor{Shape: []int{len(rows) / b.Dim, b.Dim}, F32: rows}
	tensors["counts"] = checkpoint.Tensor{Shape: []int{3}, I64: []int64{int64(next), t.engine.Paths(), t.engine.NetworkCalls()}}
	tensors["seconds"] = checkpoint.Tensor{Shape: []int{1}, F64: []float64{seconds}}
	return tensors, nil
}

// resume is the inverse of snapshot. It returns the seconds that were spent before.
func (t tuning) resume(s *Snapshot) (seconds float64, err error) {
	counts, time := s.Tensors["counts"].I64, s.Tensors["seconds"].F64
	if len(counts) != 3 || len(time) != 1 {
		return 0, errors.New("the snapshot lacks counts or seconds: it is of another version")
	}
	if err := t.algorithm.Buffer.Restore(s.Tensors["buffer/rows"].F32, int(counts[0])); err != nil {
		return 0, err
	}
	if err := restore(t.engine, s.Tensors, stateOf(t.path)...); err != nil {
		return 0, err
	}
	t.engine.Recount(counts[1], counts[2])
	t.algorithm.Start = s.Done
	return time[0], nil
}
