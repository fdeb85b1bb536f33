package experiment

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/gomlx/gomlx/ml/model"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/data"
	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
)

// Network is something to train on data before any method runs. What a run uses are the averages of its parameters.
type Network struct {
	Name     string
	EachSeed bool // every repetition trains one of its own
	Steps    int
	Settings any // all that its training depends on besides data, seed and backend
	// Init creates the parameters below a scope, at random as the key says, and returns them.
	Init func(s *model.Scope, key noise.Key) ([]*model.Variable, error)
	// Draw, if set, makes samples to train on, of networks that have been trained before. Its randomness comes from the key.
	Draw func(ctx context.Context, trained *engine.Engine, key noise.Key) ([]float32, error)
	// Train returns a trainer of the parameters in the ground's scope, and the inputs of every step. Its randomness comes from the key.
	Train func(g Ground, key noise.Key) (*nn.Trainer, func(step int) []any, error)
	// Paths are those that Draw simulates, and Calls all network evaluations; 0 means those of the prior's batches. They predict costs.
	Paths int
	Calls float64
}

// Ground is what the training of a network stands on.
type Ground struct {
	Engine  *engine.Engine // a fork of Trained, with the network's own parameters
	Scope   *model.Scope   // of these
	Trained *engine.Engine // holds the averages of the networks that have been trained before
	Samples []float32      // from Draw; nil where none were drawn, to measure speed only
}

// Fresh is [Network.Init] of a network whose last layer is scaled so at the start.
func Fresh(net func(s *model.Scope) nn.Network, last float64) func(*model.Scope, noise.Key) ([]*model.Variable, error) {
	return func(s *model.Scope, key noise.Key) ([]*model.Variable, error) {
		return net(s).Init(key, last, 0).Parameters(), nil
	}
}

// baseName is the name of the base model among the networks.
const baseName = "base"

// stage is the training's name among those of methods, which may be that of a network too.
func (n Network) stage() string { return "train " + n.Name }

// Prior returns the network of a base model as something to train, named base. Rows returns what fills in n samples of the data for every step.
func (c *Common) Prior(net func(s *model.Scope) nn.Network, shape []int, rows func(key noise.Key, n int) func(dst []float32, step int), settings ...any) Network {
	p := diffusion.Pretraining{Training: c.Pretrain, Denoising: c.Denoising}
	return Network{Name: baseName, Steps: p.Steps, Settings: append([]any{p, c.Process.VP}, settings...), Init: Fresh(net, 0),
		Train: func(g Ground, key noise.Key) (*nn.Trainer, func(step int) []any, error) {
			key = key.Sub("pretrain")
			trainer, err := p.Trainer(g.Engine, c.Process.Process(), diffusion.Network{Velocity: net(g.Scope)})
			return trainer, p.Inputs(key, c.Process.Process(), shape, rows(key, p.Batch)), err
		}}
}

// trainingVersion is part of a trained network's address; it changes when the same settings train another network.
const trainingVersion = 3

// keepEvery is the time between two snapshots of a network in training. What a run computes does not depend on it.
const keepEvery = 20 * time.Second

// obtain loads a network's averaged parameters into an engine: from the run folder, or the store of trained networks, or else after
// training it. The checkpoint in the run folder is always that of a finished training.
func (r *run) obtain(ctx context.Context, e *engine.Engine, n Network, seed uint64) error {
	c, result := r.problem.common(), Numbers(map[string]float64{"stored": 0})
	file, path := checkpointFile(r.folder.Path, c.fileName(n.Name, "", seed)), nn.Averaged("/"+n.Name)
	if _, err := n.Init(e.Scope(path), noise.New(seed)); err != nil {
		return err
	}
	if !exists(file) {
		stored, noStore := storedNetwork(r.address(n, seed))
		f, err := checkpoint.Load(stored)
		if err == nil {
			err = nn.Restore(e, f.Tensors, path) // it may be damaged
		}
		if err == nil {
			result["stored"] = Estimate{1, math.NaN()}
		} else if f, err = r.train(ctx, e, n, seed); err != nil {
			return err
		} else if err := cmp.Or(noStore, store(stored, f)); err != nil { // it is a cache
			r.warn("the network could not be stored for other runs: %v", err)
		}
		if err := checkpoint.Save(file, f); err != nil {
			return err
		}
	}
	if at := (stage{seed, "", n.stage()}); !r.ended(at, r.address(n, seed)) {
		r.observe(Event{Seed: seed, Stage: n.stage(), Done: n.Steps, Total: n.Steps, Result: result, Settings: r.address(n, seed)})
	}
	return nn.Load(file, e, path)
}

// train returns the checkpoint of a network's averages, after all its steps. Trained holds those of the networks before it.
func (r *run) train(ctx context.Context, trained *engine.Engine, n Network, seed uint64) (checkpoint.File, error) {
	if p, ok := r.problem.(Rehearser); ok && !r.rehearsed {
		if err := p.Rehearse(ctx); err != nil {
			return checkpoint.File{}, err
		}
		r.rehearsed = true
	}
	e, key, path, done := trained.Fork(), noise.New(seed), "/"+n.Name, 0
	ground := Ground{Engine: e, Scope: e.Scope(path), Trained: trained}
	resumed := r.folder.Resumed(seed, "", n.stage())
	if resumed == nil {
		r.observe(Event{Seed: seed, Stage: n.stage(), Total: n.Steps})
	}
	if n.Draw != nil { // again where a training is gone on with: it takes less than what would keep them
		var err error
		if ground.Samples, err = n.Draw(ctx, trained, key); err != nil {
			return checkpoint.File{}, err
		}
	}
	if _, err := n.Init(ground.Scope, key.Sub(n.Name)); err != nil {
		return checkpoint.File{}, err
	}
	trainer, inputs, err := n.Train(ground, key)
	if err != nil {
		return checkpoint.File{}, err
	}
	if s := resumed; s != nil {
		if err := nn.Restore(e, s.Tensors, nn.TrainingState(path)...); err != nil {
			return checkpoint.File{}, err
		}
		trainer.Resume(s.Done)
		done = s.Done
	}
	keep := func() error {
		tensors, err := nn.State(e, nn.TrainingState(path)...)
		if err != nil {
			return err
		}
		return r.folder.Keep(snapshot{Seed: seed, Stage: n.stage(), Done: done, Tensors: tensors})
	}
	last := time.Now()
	err = trainer.Run(ctx, n.Steps, inputs, func(step int, loss float64) error {
		if done = step; step%20 == 0 || step == n.Steps {
			value := finetune.Number(loss)
			r.observe(Event{Seed: seed, Stage: n.stage(), Done: step, Total: n.Steps, Loss: &value})
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
	tensors, err := nn.State(e, nn.Averaged(path))
	metadata := r.metadata(n.Name, seed, r.address(n, seed))
	metadata["config"] = string(r.networkSettings(n, seed)) // not of this run only
	return checkpoint.File{Tensors: tensors, Metadata: metadata}, err
}

// networkSettings are what the network's parameters depend on besides the data.
func (r *run) networkSettings(n Network, seed uint64) []byte {
	text, err := json.Marshal([]any{trainingVersion, n.Name, n.Steps, n.Settings, seed, numerics(r.backend())})
	if err != nil {
		panic(err) // plain data
	}
	return text
}

// address is the hash of all that the network's parameters depend on: settings, seed, backend, data.
func (r *run) address(n Network, seed uint64) string {
	return hash(append(r.networkSettings(n, seed), r.data.SHA256...))
}

func hash(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:12])
}

// storedNetwork returns the file of a trained network in the store.
func storedNetwork(address string) (string, error) {
	dir, err := data.Dir("networks")
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, address+".safetensors"), nil
}

// store keeps a trained network for other runs; no file is no store.
func store(file string, f checkpoint.File) error {
	if file == "" {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return checkpoint.Save(file, f)
}

// exists reports whether there is a file.
func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
