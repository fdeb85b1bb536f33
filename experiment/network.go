package experiment

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/data"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
)

// session is what all runs with trained networks have. Its engine holds the networks' averages.
type session struct {
	experiment string
	seed       uint64 // of the networks
	engine     *engine.Engine
	data       string // what the networks are trained on, and
	dataSum    string // its SHA-256
	folder     *Folder
	observe    Observer
	ended      map[stage]bool // by the events of a run that is resumed
}

// tell makes everything that the run observes go to its folder, to its book, and to whoever watches.
func (r *session) tell(book func(Event), watch Observer) {
	r.observe = func(ev Event) {
		r.folder.Event(ev)
		book(ev)
		watch(ev)
	}
}

// complete writes the report of a run, which makes it complete.
func (r *session) complete(rep Report) error {
	if err := cmp.Or(r.folder.Err(), r.folder.DropSnapshot()); err != nil {
		return err
	}
	return r.folder.WriteJSON("report.json", rep)
}

// stage identifies a part of a run that ends with a result.
type stage struct {
	seed       uint64
	task, name string
}

// network is something to train on data, with its parameters below /name.
type network struct {
	name   string
	steps  int
	config any                                 // all settings that its training depends on
	create func(e *engine.Engine, path string) // its parameters, below a path
	make   func(e *engine.Engine) (trainer *nn.Trainer, inputs func(step int) []any, err error)
}

// NetworkResult says that a network is ready.
type NetworkResult struct {
	Stored bool `json:"stored"` // it was trained by an earlier run
}

// trainingVersion is part of a trained network's address; it changes when the same settings train another network.
const trainingVersion = 2

// keepEvery is the time between two snapshots of a network in training. What a run computes does not depend on it.
const keepEvery = 20 * time.Second

// obtain loads a network's averaged parameters into the run's engine: from the run folder, or the store of trained
// networks, or else after training it. The checkpoint in the run folder is always that of a finished training.
func (r *session) obtain(ctx context.Context, n network) error {
	file, path := r.folder.File("checkpoint", n.name+".safetensors"), nn.Averaged("/"+n.name)
	result := &NetworkResult{}
	if !exists(file) {
		stored, err := storedNetwork(r.address(n))
		if err != nil {
			return err
		}
		f, err := checkpoint.Load(stored)
		if err == nil {
			result.Stored = true
		} else if f, err = r.train(ctx, n); err != nil {
			return err
		} else if err := store(stored, f); err != nil {
			return err
		}
		if err := checkpoint.Save(file, f); err != nil {
			return err
		}
	}
	if !r.ended[stage{r.seed, "", n.name}] {
		r.observe(Event{Seed: r.seed, Stage: n.name, Done: n.steps, Total: n.steps, Result: result})
	}
	n.create(r.engine, path)
	return loadParameters(file, r.engine, path)
}

// train returns the checkpoint of a network's averages, after all its steps.
func (r *session) train(ctx context.Context, n network) (checkpoint.File, error) {
	e, err := engine.Open(r.engine.Name)
	if err != nil {
		return checkpoint.File{}, err
	}
	trainer, inputs, err := n.make(e)
	if err != nil {
		return checkpoint.File{}, err
	}
	path, done := "/"+n.name, 0
	if s := r.folder.Resumed(r.seed, "", n.name); s != nil {
		if err := restore(e, s.Tensors, stateOf(path)...); err != nil {
			return checkpoint.File{}, err
		}
		trainer.Resume(s.Done)
		done = s.Done
	} else {
		r.observe(Event{Seed: r.seed, Stage: n.name, Total: n.steps})
	}
	keep := func() error {
		tensors, err := variables(e, stateOf(path)...)
		if err != nil {
			return err
		}
		return r.folder.Keep(Snapshot{Seed: r.seed, Stage: n.name, Done: done, Tensors: tensors})
	}
	last := time.Now()
	err = trainer.Run(ctx, n.steps, inputs, func(step int, loss float64) error {
		if done = step; step%20 == 0 || step == n.steps {
			value := finetune.Number(loss)
			r.observe(Event{Seed: r.seed, Stage: n.name, Done: step, Total: n.steps, Loss: &value})
		}
		if time.Since(last) < keepEvery {
			return nil
		}
		last = time.Now()
		return keep()
	})
	if ctx.Err() != nil {
		return checkpoint.File{}, errors.Join(ctx.Err(), keep())
	}
	if err != nil {
		return checkpoint.File{}, err
	}
	tensors, err := variables(e, nn.Averaged(path))
	metadata := r.metadata(n.name)
	metadata["config"] = string(r.settings(n)) // not of this run only
	return checkpoint.File{Tensors: tensors, Metadata: metadata}, err
}

// stateOf returns the paths of all that a trainer of the parameters below path changes.
func stateOf(path string) []string { return []string{path, "/optimizer" + path, nn.Averaged(path)} }

// settings are what the network's parameters depend on besides the data.
func (r *session) settings(n network) []byte {
	text, err := json.Marshal([]any{trainingVersion, n.name, n.steps, n.config, r.seed, r.engine.Name})
	if err != nil {
		panic(err) // plain data
	}
	// What networks are stored by has said so since Optimizer had this field.
	return bytes.ReplaceAll(text, []byte(`,"EMA":`), []byte(`,"Decay":0,"EMA":`))
}

// address is the hash of all that the network's parameters depend on: settings, seed, backend, data.
func (r *session) address(n network) string {
	sum := sha256.Sum256(append(r.settings(n), r.dataSum...))
	return hex.EncodeToString(sum[:12])
}

// storedNetwork returns the file of a trained network in the store.
func storedNetwork(address string) (string, error) {
	dir, err := data.Dir("networks")
	return filepath.Join(dir, address+".safetensors"), err
}

func store(file string, f checkpoint.File) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return checkpoint.Save(file, f)
}

// metadata describes a checkpoint: what it is of, and all settings.
func (r *session) metadata(what string) map[string]string {
	return map[string]string{"experiment": r.experiment, "network": what, "seed": fmt.Sprint(r.seed), "data": r.data, "data_sha256": r.dataSum, "backend": r.engine.Name,
		"version": Version(), "config": r.folder.config}
}

// batches returns the indices of a step's batch of n examples, in shuffled epochs, as a function of the step alone.
func batches(key noise.Key, n, size int) func(step int) []int {
	b, index := data.NewBatches(key, n), make([]int, size)
	return func(step int) []int {
		if err := b.Seek(data.Position{Epoch: step * size / n, Offset: step * size % n}); err != nil {
			panic(err) // it is a position by construction
		}
		b.Next(index)
		return index
	}
}
