package htransform

import (
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/ml/model"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/nn"
)

// Neutral takes what (15) finds relative to what the same fit finds for all samples, and not relative to the base model:
//
//	ε_h = ε_fit − ε_self
//
// (15) finds the score of the noised samples that were kept. With r = 0 those are the chain's own, whose score is not ε_θ where the base
// model has faults or its steps are few: h drifts with nothing to learn. So ε_self is fitted once by [OwnFit] to unweighted samples of the
// base model, and Fit starts as a copy of it. With r = 0 both agree, whatever the faults of the base model. Path weights are exact as for
// any other h.
type Neutral struct {
	Fit  Learned           // what (15) fits
	Self diffusion.Control // the base model's own fit, which has been learned before; required
}

var _ Learned = Neutral{}

// Noise implements [diffusion.Control]. It evaluates two networks, and counts the second one.
func (h Neutral) Noise(s diffusion.State) *graph.Node {
	return graph.Sub(h.Fit.Noise(s), s.Noise(h.Self))
}

// Parameters implements [Learned]: those of Fit.
func (h Neutral) Parameters() []*model.Variable { return h.Fit.Parameters() }

// Within implements [Learned]: the parameters of Self stay where they are.
func (h Neutral) Within(place func(*model.Scope) *model.Scope) Learned {
	h.Fit = h.Fit.Within(place)
	return h
}

// Fitted takes h apart into what (15) fits and what h is relative to, nil where that is the base model.
func Fitted(h Learned) (fit Learned, self diffusion.Control) {
	switch h := h.(type) {
	case Neutral:
		return h.Fit, h.Self
	case NeutralLoRA:
		return h.LoRA, apart{h.LoRA, h}
	}
	return h, nil
}

// OwnFit returns a trainer of ε_self, the h of [Neutral], by the loss (15) on whatever samples it is given: those of the base model. The
// learning rate falls to zero over p.Steps. The inputs of a step are those of [diffusion.Pretraining.Inputs].
func OwnFit(e *engine.Engine, process diffusion.Process, base diffusion.Model, h Learned, p diffusion.Pretraining) (*nn.Trainer, error) {
	trainer, err := nn.NewTrainer(e, h.Parameters(), p.Optimizer, func(in []*graph.Node) *graph.Node {
		loss, _ := diffusion.Diffuse(process, base, in[0], in[1], in[2], nil).Loss(h, p.Velocity)
		return loss
	})
	if err != nil {
		return nil, err
	}
	trainer.Decay(0, p.Steps)
	return trainer, nil
}
