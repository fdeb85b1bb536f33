package main

import (
	"fmt"
	"io"

	"github.com/gomlx/gomlx/ml/model"

	"github.com/doob-diffusion/doob/bench"
	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/experiment/imaging"
	"github.com/doob-diffusion/doob/experiment/mnist"
	"github.com/doob-diffusion/doob/experiment/superres"
	"github.com/doob-diffusion/doob/experiment/textimage"
	"github.com/doob-diffusion/doob/experiment/toy"
	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/method"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
	"github.com/doob-diffusion/doob/sd"
)

// bytes returns the size of a file.
func bytes(f checkpoint.File) (float64, error) {
	var n counter
	err := checkpoint.Write(&n, f)
	return float64(n), err
}

type counter int

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

var _ io.Writer = (*counter)(nil)

// records returns what a batch of paths is as a message: endpoints [n, dim] in float32, rewards, log ratios and energies in float64, the energies of steps, and which
// paths they are. What a path is conditioned on is a function of the key and its number, and is not sent.
func records(n, dim, steps int) checkpoint.File {
	paths := diffusion.Paths{N: n, Dim: dim, X: make([]float32, n*dim), LogRatio: make([]float64, n), Energy: make([]float64, n), StepEnergy: make([]float64, steps)}
	tensors := finetune.Flight{paths}.State()
	tensors["0/reward"] = checkpoint.Tensor{Shape: []int{n}, F64: make([]float64, n)}
	return checkpoint.File{Tensors: tensors, Metadata: map[string]string{"run": fmt.Sprintf("%064x", 0), "iteration": "100", "from": "100000", "version": "100", "seed": "1"}}
}

// sized completes a work by the sizes of its messages: what a path adds to a batch, and a batch that is empty.
func (w work) sized(dim, steps int, weights map[string]checkpoint.Tensor) (work, error) {
	one, err := bytes(records(1, dim, steps))
	if err != nil {
		return w, err
	}
	many, err := bytes(records(1001, dim, steps))
	if err != nil {
		return w, err
	}
	w.Record = (many - one) / 1000
	w.Task = one - w.Record
	w.Weights, err = bytes(checkpoint.File{Tensors: weights})
	return w, err
}

// parameters are those of an h of given networks; conditioned if NN1 sees a measurement too.
func parameters(s htransform.Settings, nn1 func(s *model.Scope, inputs int) nn.Network, conditioned bool) (map[string]checkpoint.Tensor, error) {
	e, err := engine.Open("cpu")
	if err != nil {
		return nil, err
	}
	s.Tuned = false // only where it starts
	parts := htransform.Parts{NN1: nn1, Reward: reward.Zero{}}
	if conditioned {
		parts.NN1 = func(s *model.Scope, inputs int) nn.Network { return nn1(s, inputs+1) }
	}
	if _, err := s.New(e, noise.New(1), parts); err != nil {
		return nil, err
	}
	return nn.State(e, htransform.Path)
}

// preset reads a preset, and the paths of an iteration of importance.
func preset[P experiment.Problem](name, preset string) (p P, w work, err error) {
	q, err := experiment.New(name, preset, "", nil)
	if err != nil {
		return p, w, err
	}
	p = q.(P)
	m := any(p).(interface{ Method(string) method.Method }).Method("importance").(*method.Importance)
	return p, work{Name: name + ", " + preset, Paths: m.Paths}, nil
}

// works measures the messages of four problems. The seconds of a path and of the gradient steps of an iteration are stated: docs/scaling.md says where they are from.
func works() (out []work, err error) {
	add := func(w work, dim, steps int, path, train float64, weights map[string]checkpoint.Tensor, err error) error {
		if err != nil {
			return err
		}
		w.Path, w.Train = path, train
		w, err = w.sized(dim, steps, weights)
		out = append(out, w)
		return err
	}
	t, w, err := preset[*toy.Problem]("toy", "quick")
	if err != nil {
		return nil, err
	}
	weights, err := parameters(t.H.Settings, func(s *model.Scope, inputs int) nn.Network {
		n := t.H.MLP
		n.Scope, n.In, n.Out, n.Timed = s, 2*inputs, 2, true
		return n
	}, false)
	if err := add(w, 2, t.Process.Steps, 50e-6, 0.08, weights, err); err != nil {
		return nil, err
	}
	m, w, err := preset[*mnist.Problem]("mnist", "small")
	if err != nil {
		return nil, err
	}
	weights, err = parameters(m.H.Settings, func(s *model.Scope, inputs int) nn.Network { return imaging.Net(m.H.Size(m.Network), s, inputs, 1) }, false)
	if err := add(w, 28*28, m.Process.Steps, 0.022, 7.2, weights, err); err != nil {
		return nil, err
	}
	r, w, err := preset[*superres.Problem]("superres", "small")
	if err != nil {
		return nil, err
	}
	weights, err = parameters(r.H.Settings, func(s *model.Scope, inputs int) nn.Network { return imaging.Net(r.H.Size(r.Network), s, 3*inputs, 3) }, true)
	if err := add(w, 64*64*3, r.Process.Steps, 0.16, 50, weights, err); err != nil {
		return nil, err
	}
	i, w, err := preset[*textimage.Problem]("textimage", "sd15")
	if err != nil {
		return nil, err
	}
	weights, err = adapter(i.LoRA.Rank)
	return out, add(w, 64*64*4, i.Process.Steps, 4, 100, weights, err)
}

// adapter is a LoRA of Stable Diffusion 1.5.
func adapter(rank int) (map[string]checkpoint.Tensor, error) {
	e, err := engine.Open("cpu")
	if err != nil {
		return nil, err
	}
	if _, err := sd.NewLowRank(e.Scope(htransform.Path), bench.StableUNet(320).Tensors(), rank, sd.AttentionMaps, noise.New(1)); err != nil {
		return nil, err
	}
	return nn.State(e, htransform.Path)
}
