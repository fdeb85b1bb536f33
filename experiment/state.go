package experiment

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/method"
	"github.com/doob-diffusion/doob/nn"
)

// Before the names of what an objective keeps, and of the batches that are in flight.
const objectivePrefix, flightPrefix = "objective/", "flight/"

// state holds all that a stage needs to go on after an iteration.
func (w *work) state(f *finetune.FineTuning) (map[string]checkpoint.Tensor, error) {
	e := w.target.Engine
	tensors, err := nn.State(e, nn.TrainingState(htransform.Path)...)
	if err != nil {
		return nil, err
	}
	rows, next := f.Buffer.State()
	tensors["buffer/rows"] = checkpoint.Tensor{Shape: []int{len(rows) / f.Buffer.Dim, f.Buffer.Dim}, F32: rows}
	tensors["counts"] = checkpoint.Tensor{Shape: []int{3}, I64: []int64{int64(next), e.Paths(), e.NetworkCalls()}}
	tensors["pool"] = checkpoint.Tensor{Shape: []int{6}, F64: f.Pool.State()}
	tensors["rewards"] = checkpoint.Tensor{Shape: []int{2}, F64: f.Seen.State()}
	tensors["seconds"] = checkpoint.Tensor{Shape: []int{1}, F64: []float64{w.spent().Seconds}}
	for name, t := range f.Flight.State() {
		tensors[flightPrefix+name] = t
	}
	if o, ok := f.Objective.(finetune.Lasting); ok {
		own, err := o.State()
		if err != nil {
			return nil, err
		}
		for name, t := range own {
			tensors[objectivePrefix+name] = t
		}
	}
	return tensors, nil
}

// recall brings Algorithm 1 to where an earlier process has left it: in the middle, or at the end of fewer iterations.
func (w *work) recall(f *finetune.FineTuning) error {
	tensors, done := map[string]checkpoint.Tensor(nil), 0
	if s := w.folder.Resumed(w.at.seed, w.at.task, w.at.name); s != nil {
		tensors, done = s.Tensors, s.Done
	} else if file := w.stateFile(); exists(file) {
		kept, err := checkpoint.Load(file)
		if err != nil {
			return err
		}
		if done, err = strconv.Atoi(kept.Metadata["done"]); err != nil {
			return fmt.Errorf("%s: done is %q: it is of another version", file, kept.Metadata["done"])
		}
		tensors = kept.Tensors
	}
	if tensors == nil || done > f.Iterations {
		return nil
	}
	counts, seconds, pool := tensors["counts"].I64, tensors["seconds"].F64, tensors["pool"].F64
	if len(counts) != 3 || len(seconds) != 1 || len(pool) != 6 {
		return errors.New("the state of the method lacks counts, seconds or pool: it is of another version")
	}
	f.Pool, f.Seen = finetune.PoolOf(pool), finetune.SeenOf(tensors["rewards"].F64)
	if err := f.Buffer.Restore(tensors["buffer/rows"].F32, int(counts[0])); err != nil {
		return err
	}
	if err := nn.Restore(w.target.Engine, tensors, nn.TrainingState(htransform.Path)...); err != nil {
		return err
	}
	var err error
	if f.Flight, err = finetune.FlightOf(below(tensors, flightPrefix)); err != nil {
		return err
	}
	if o, ok := f.Objective.(finetune.Lasting); ok {
		if err := o.Restore(below(tensors, objectivePrefix)); err != nil {
			return err
		}
	}
	w.target.Recall(method.Spent{Paths: counts[1], Calls: counts[2], Seconds: seconds[0]})
	f.Start = done
	return nil
}

// below returns the tensors with a prefix, by their names without it.
func below(tensors map[string]checkpoint.Tensor, prefix string) map[string]checkpoint.Tensor {
	out := map[string]checkpoint.Tensor{}
	for name, t := range tensors {
		if name, ok := strings.CutPrefix(name, prefix); ok {
			out[name] = t
		}
	}
	return out
}

// stateEnding is what the names of files end with, before their type, of what it takes to go on.
const stateEnding = "_state"

func (w *work) stateFile() string {
	return checkpointFile(w.folder.Path, w.problem.common().fileName(w.at.name, w.at.task, w.at.seed)+stateEnding)
}

// keepState keeps what it takes to go on with more iterations, if the run is to be one that can.
func (w *work) keepState(f *finetune.FineTuning) error {
	if !w.problem.common().States {
		return nil
	}
	tensors, err := w.state(f)
	if err != nil {
		return err
	}
	metadata := w.metadata("state", w.problem.common().Seed, w.settings)
	metadata["done"] = strconv.Itoa(f.Iterations)
	return checkpoint.Save(w.stateFile(), checkpoint.File{Tensors: tensors, Metadata: metadata})
}
