package textimage

import (
	"github.com/gomlx/gomlx/ml/model"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/sd"
)

// Networks implements [experiment.Problem]: the own fits of the base model, one for every prompt, if there shall be some.
func (p *Problem) Networks() (all []experiment.Network) {
	if p.folder == nil {
		return nil
	}
	for _, task := range p.Tasks() {
		all = p.WithSelf(all, experiment.OwnFit{Task: task, Evaluations: p.evaluations(), Shape: p.latent, Fits: fitsLoRA{p}, Settings: []any{p.prompt(task), p.Negative, p.Guidance, p.LoRA},
			Base: func(trained *engine.Engine) (diffusion.Model, error) {
				if err := p.read(trained); err != nil {
					return nil, err
				}
				return p.prompted(task)
			}})
	}
	return all
}

// fitsLoRA is an adapter like that of h, fitted to samples of the base model.
type fitsLoRA struct{ p *Problem }

// Init implements [experiment.Fits].
func (f fitsLoRA) Init(s *model.Scope, key noise.Key) ([]*model.Variable, error) {
	h, err := f.p.LoRA.New(s, sd.Guided{UNet: f.p.folder.UNet}, key)
	if err != nil {
		return nil, err
	}
	return h.Parameters(), nil
}

// H implements [experiment.Fits].
func (f fitsLoRA) H(s *model.Scope, base diffusion.Model) (htransform.Learned, error) {
	return f.p.LoRA.In(s, base.(sd.Guided))
}
