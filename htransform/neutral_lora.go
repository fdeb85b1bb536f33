package htransform

import (
	"fmt"
	"slices"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/ml/model"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/lora"
	"github.com/doob-diffusion/doob/sd"
)

// NeutralLoRA is [Neutral] in weights and not in predictions: an adapter less that of the base model's own fit,
//
//	ε_h = ε(θ + B·A − B₀·A₀) − ε(θ)
//
// Both are the same to first order in the adapters, and at r = 0, where B·A = B₀·A₀ and h = 0. But this is one network and not two, and it is an adapter of
// twice the rank: path weights are of what is saved.
type NeutralLoRA struct {
	LoRA            // what (15) fits
	Self sd.LowRank // of the base model's own fit, that has been learned before
}

var _ Guided = NeutralLoRA{}

// NewNeutralLoRA makes fit start as a copy of the base model's own fit, of the same modules and ranks.
func NewNeutralLoRA(fit LoRA, self sd.LowRank) (NeutralLoRA, error) {
	to, from := fit.Parameters(), self.Parameters()
	if !slices.Equal(fit.Low.Modules, self.Modules) {
		return NeutralLoRA{}, fmt.Errorf("htransform: the base model's own fit changes %d modules, and h %d: want the same ones", len(self.Modules), len(fit.Low.Modules))
	}
	for i, v := range to {
		value, err := from[i].MustValue().Clone()
		if err != nil {
			return NeutralLoRA{}, fmt.Errorf("htransform: own fit: %s: %w", from[i].Path(), err)
		}
		if !value.Shape().Equal(v.Shape()) {
			return NeutralLoRA{}, fmt.Errorf("htransform: own fit: %s is %s, and of h it is %s: want the same rank", from[i].Path(), value.Shape(), v.Shape())
		}
		if err := v.SetValue(value); err != nil {
			return NeutralLoRA{}, fmt.Errorf("htransform: own fit: %s: %w", v.Path(), err)
		}
	}
	return NeutralLoRA{LoRA: fit, Self: self}, nil
}

// Noise implements [diffusion.Control].
func (h NeutralLoRA) Noise(s diffusion.State) *graph.Node {
	return h.adding(s, func(module string, x *graph.Node) *graph.Node {
		more := h.Low.Addition(module, x)
		if more == nil {
			return nil
		}
		return graph.Sub(more, h.Self.Addition(module, x))
	})
}

// Unguided implements [Guided].
func (h NeutralLoRA) Unguided() Learned {
	h.Base.Scale = 0
	return h
}

// Within implements [Learned]: the parameters of Self stay where they are.
func (h NeutralLoRA) Within(place func(*model.Scope) *model.Scope) Learned {
	h.Low = h.Low.Within(place)
	return h
}

// Adapter returns all of h, to be saved: [B, −B₀]·[A; A₀], of twice the rank.
func (h NeutralLoRA) Adapter() (lora.Adapter, error) {
	all, err := h.LoRA.Adapter()
	if err != nil {
		return lora.Adapter{}, err
	}
	self, err := h.Self.Pairs()
	if err != nil {
		return lora.Adapter{}, fmt.Errorf("htransform: %w", err)
	}
	for module, p := range all.UNet {
		all.UNet[module] = p.Less(self[module])
	}
	return all, nil
}

// apart is what an h that is relative to something is relative to.
type apart struct{ fit, h diffusion.Control }

// Noise implements [diffusion.Control].
func (a apart) Noise(s diffusion.State) *graph.Node { return graph.Sub(s.Noise(a.fit), s.Noise(a.h)) }
