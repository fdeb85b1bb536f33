package textimage

import (
	"slices"

	"github.com/doob-diffusion/doob/experiment"
)

var _ experiment.Reader = (*Problem)(nil)

// Reads implements [experiment.Reader].
func (p *Problem) Reads() ([]string, error) {
	if err := p.place(); err != nil {
		return nil, err
	}
	all := []string{p.parts.model, p.parts.reward, p.parts.heldOut, p.parts.clip, p.parts.checker}
	return slices.DeleteFunc(all, func(place string) bool { return place == "" }), nil
}

// Generation asks the model that is tuned for a picture of the first prompt, with the steps and the guidance of the run. N, Seed and Out are left to the caller.
func (p *Problem) Generation() (Generation, error) {
	if err := p.place(); err != nil {
		return Generation{}, err
	}
	return Generation{Model: p.parts.model, Prompt: p.Prompts[0], Negative: p.Negative, Steps: p.Process.Steps, Eta: p.Process.Eta, Guidance: p.Guidance}, nil
}
