package sd

import "github.com/doob-diffusion/doob/diffusion"

// Process returns the process of the noise levels that the model knows.
func (s Schedule) Process() (*diffusion.Discrete, error) {
	return diffusion.NewDiscrete(diffusion.Betas{First: s.Beta0, Last: s.Beta1, Linear: s.Linear, Cosine: s.Cosine, Steps: s.Steps})
}
