package experiment

import (
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
)

// network is something to train on data, with its parameters below /name.
type network struct {
	name   string
	steps  int
	config any // all settings that its training depends on
	make   func(e *engine.Engine) (trainer *nn.Trainer, inputs func(step int) []any, err error)
}

// NetworkResult says that a network is ready.
type NetworkResult struct {
	Stored bool `json:"stored"` // it was trained by an earlier run
}

// trainingVersion is part of a trained network's address; it changes when the same settings train another network.
const trainingVersion = 1

// keepEvery is the time between two snapshots of a network in training. What a run computes does not depend on it.
const keepEvery = 20 * time.Second

// obtain loads a network's averaged parameters into the run's engine: from the run folder, or the store of trained
// networks, or else after training it. The checkpoint in the run folder is always that of a finished training.
func (r *mnistRun) obtain(ctx context.Context, n network) error {
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
	if !r.ended[[3]string{fmt.Sprint(r.Seed), "", n.name}] {
		r.observe(Event{Seed: r.Seed, Stage: n.name, Done: n.steps, Total: n.steps, Result: result})
	}
	switch n.name {
	case "base":
		r.MNIST.prior(r.engine, path).Velocity.(nn.UNet).Init(r.key, 0, 0)
	default:
		r.classifier(r.engine, path).Init(r.key, 1, 0)
	}
	return loadParameters(file, r.engine, path)
}

// train returns the checkpoint of a network's averages, after all its steps.
func (r *mnistRun) train(ctx context.Context, n network) (checkpoint.File, error) {
	e, err := engine.Open(r.engine.Name)
	if err != nil {
		return checkpoint.File{}, err
	}
	trainer, inputs, err := n.make(e)
	if err != nil {
		return checkpoint.File{}, err
	}
	path, done := "/"+n.name, 0
	if s := r.folder.Resumed(r.Seed, "", n.name); s != nil {
		if err := restore(e, s.Tensors, stateOf(path)...); err != nil {
			return checkpoint.File{}, err
		}
		trainer.Resume(s.Done)
		done = s.Done
	} else {
		r.observe(Event{Seed: r.Seed, Stage: n.name, Total: n.steps})
	}
	keep := func() error {
		tensors, err := variables(e, stateOf(path)...)
		if err != nil {
			return err
		}
		return r.folder.Keep(Snapshot{Seed: r.Seed, Stage: n.name, Done: done, Tensors: tensors})
	}
	last := time.Now()
	err = trainer.Run(ctx, n.steps, inputs, func(step int, loss float64) error {
		if done = step; step%20 == 0 || step == n.steps {
			value := finetune.Number(loss)
			r.observe(Event{Seed: r.Seed, Stage: n.name, Done: step, Total: n.steps, Loss: &value})
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
func (r *mnistRun) settings(n network) []byte {
	text, err := json.Marshal([]any{trainingVersion, n.name, n.steps, n.config, r.Seed, r.engine.Name})
	if err != nil {
		panic(err) // plain data
	}
	return text
}

// address is the hash of all that the network's parameters depend on: settings, seed, backend, data.
func (r *mnistRun) address(n network) string {
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
func (r *mnistRun) metadata(what string) map[string]string {
	return map[string]string{"experiment": "mnist", "network": what, "seed": fmt.Sprint(r.Seed), "data": r.Data, "data_sha256": r.dataSum, "backend": r.engine.Name,
		"version": Version(), "config": r.folder.config}
}
