package smallworld

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"time"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/ml/model"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/nn"
)

// keepEvery is the time between two files of what a part has learned so far: a part takes up to hours.
const keepEvery = 30 * time.Second

// fit trains the parameters below a scope by a loss of a step's inputs, and returns the scope of their averages. If it is interrupted it leaves a file, with
// which the same training goes on to the same parameters.
func (t Training) fit(ctx context.Context, part, scope string, steps int, o nn.Optimizer, loss func(in []*graph.Node) *graph.Node, inputs func(step int) []any) (*model.Scope, error) {
	var parameters []*model.Variable
	for v := range t.engine.Scope(scope).IterVariables() {
		parameters = append(parameters, v)
	}
	trainer, err := nn.NewTrainer(t.engine, nn.Sorted(parameters), o, loss)
	if err != nil {
		return nil, err
	}
	steps = t.steps(steps)
	trainer.Decay(0, steps)
	done, err := t.resume(part, scope, steps)
	if err != nil {
		return nil, err
	}
	trainer.Resume(done)
	last := time.Now()
	err = trainer.Run(ctx, steps, inputs, func(step int, loss float64) error {
		if done = step; t.Report != nil && (done%50 == 0 || done == steps) {
			t.Report(part, done, steps, loss)
		}
		if time.Since(last) < keepEvery {
			return nil
		}
		last = time.Now()
		return t.keep(part, scope, done, steps)
	})
	if ctx.Err() != nil {
		return nil, errors.Join(ctx.Err(), t.keep(part, scope, done, steps))
	}
	return t.engine.Scope(nn.Averaged(scope)), err
}

// unfinished is the file of a part's training that has not come to its end.
func (t Training) unfinished(part string) string { return t.file(part + ".unfinished.safetensors") }

// keep writes what the parameters below a scope have learned in so many steps of all.
func (t Training) keep(part, scope string, done, steps int) error {
	tensors, err := nn.State(t.engine, nn.TrainingState(scope)...)
	if err != nil {
		return err
	}
	return checkpoint.Save(t.unfinished(part), checkpoint.File{Tensors: tensors, Metadata: map[string]string{"done": strconv.Itoa(done), "run": t.run(steps)}})
}

// resume restores what keep has written, and returns the steps done; 0 if there is nothing.
func (t Training) resume(part, scope string, steps int) (done int, err error) {
	f, err := checkpoint.Load(t.unfinished(part))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if got, want := f.Metadata["run"], t.run(steps); got != want {
		return 0, fmt.Errorf("%s is of another training, %s: want %s; remove it to begin anew", t.unfinished(part), got, want)
	}
	if err := nn.Restore(t.engine, f.Tensors, nn.TrainingState(scope)...); err != nil {
		return 0, fmt.Errorf("%s: %w", t.unfinished(part), err)
	}
	return strconv.Atoi(f.Metadata["done"])
}

// run says which training of a part it is.
func (t Training) run(steps int) string { return fmt.Sprintf("seed %d, %d steps", t.Seed, steps) }

// finish removes what a part that is done has left unfinished before.
func (t Training) finish() error {
	left, err := fs.Glob(os.DirFS(t.Dir), "*.unfinished.safetensors")
	for _, file := range left {
		err = errors.Join(err, os.Remove(t.file(file)))
	}
	return err
}
