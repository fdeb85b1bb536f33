package htransform

import (
	"fmt"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/ml/model"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
)

// Path is where [Settings.New] puts the parameters of h: NN1 below Path/nn1, NN2 below Path/nn2.
const Path = "/h"

// Settings say which h is learned, and how it starts.
type Settings struct {
	ScaleWidth int     `yaml:"scale_width"` // of NN2
	Start      float64 `yaml:"start"`       // of NN2, see [Scale]
	Gradient   bool    `yaml:"gradient"`    // (16), with the gradient of the reward; if not, there is no NN2
	Tuned      bool    `yaml:"tuned"`       // NN1 is a copy of the base model's network to begin with, see [RewardInformed]
}

// Parts are what an h is made of.
type Parts struct {
	NN1    func(s *model.Scope, inputs int) nn.Network // that takes so many inputs of the shape of a sample
	Base   nn.Network                                  // of the base model, for Tuned
	Self   nn.Network                                  // of the base model's own fit, of x and x̂₀, see [Neutral]; nil for none
	Reward reward.Reward
	Weight func(diffusion.State) *graph.Node   // see [RewardInformed]
	Show   func(given *graph.Node) *graph.Node // see [RewardInformed]
}

// New creates h with its parameters below [Path].
func (s Settings) New(e *engine.Engine, key noise.Key, p Parts) (Learned, error) {
	inputs := 2
	if s.Gradient {
		inputs++
	}
	if p.Show != nil {
		inputs++
	}
	nn1 := p.NN1(e.Scope(Path+"/nn1"), inputs).Init(key, 0, 0)
	start := p.Self
	if start == nil && s.Tuned {
		start = p.Base
	}
	if start != nil {
		if err := nn.Copy(nn1, start); err != nil {
			return nil, err
		}
	}
	var h Learned = RewardFree{NN1: nn1, Tuned: s.Tuned}
	if s.Gradient {
		r, ok := p.Reward.(reward.Differentiable)
		if !ok {
			return nil, fmt.Errorf("htransform: h takes the gradient of the reward, but %T has none", p.Reward)
		}
		h = RewardInformed{Reward: r, NN1: nn1, Tuned: s.Tuned, NN2: Scale(e.Scope(Path+"/nn2"), s.ScaleWidth, s.Start, key),
			Weight: p.Weight, Show: p.Show}
	}
	if p.Self == nil {
		return h, nil
	}
	return Neutral{Fit: h, Self: RewardFree{NN1: p.Self, Tuned: s.Tuned}}, nil
}
