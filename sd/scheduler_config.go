package sd

import (
	"fmt"
	"path/filepath"
)

// Schedule is the noise schedule that a model was trained with. A scheduler's class is how its authors sample by default, and not used.
type Schedule struct {
	Beta0, Beta1 float64 // variance that the first and the last step of noising adds
	Linear       bool    // whether β is linear in the step, and not √β, which diffusers calls scaled_linear
	Cosine       bool    // whether they are those of a ᾱ that falls like a squared cosine instead, squaredcos_cap_v2
	Steps        int     // of noising
	Prediction   string  // what the network says: epsilon, v_prediction or sample
	AlphaToOne   bool    // whether DDIM's last step goes to no noise at all; else to that of the first step of noising
}

func readSchedule(dir string) (Schedule, error) {
	s, err := readSettings(filepath.Join(dir, "scheduler_config.json"))
	if err != nil {
		return Schedule{}, err
	}
	c := Schedule{
		Beta0:      get(s, "beta_start", 0.0001),
		Beta1:      get(s, "beta_end", 0.02),
		Steps:      s.positive("num_train_timesteps", 1000),
		Prediction: only(s, "prediction_type", "epsilon", nil, "epsilon", "v_prediction", "sample"),
		AlphaToOne: get(s, "set_alpha_to_one", true),
	}
	kind := only(s, "beta_schedule", "linear", nil, "scaled_linear", "linear", "squaredcos_cap_v2")
	c.Linear, c.Cosine = kind == "linear", kind == "squaredcos_cap_v2"
	s.null("trained_betas", "")
	s.no("thresholding")
	if get(s, "rescale_betas_zero_snr", false) {
		s.refuse("rescale_betas_zero_snr", "without any signal at the last step no noise can be predicted there", []bool{false})
	}
	if !(c.Beta0 > 0 && c.Beta0 <= c.Beta1 && c.Beta1 < 1) {
		s.fail(ErrConfig, "beta_start is %g and beta_end %g, expected 0 < beta_start ≤ beta_end < 1", c.Beta0, c.Beta1)
	}
	return c, s.err()
}

// Kind returns the name that diffusers has for how β rises.
func (s Schedule) Kind() string {
	switch {
	case s.Cosine:
		return "squaredcos_cap_v2"
	case s.Linear:
		return "linear"
	}
	return "scaled_linear"
}

// String says what a model was trained with, for people.
func (s Schedule) String() string {
	if s.Cosine {
		return fmt.Sprintf("%s β in %d steps", s.Kind(), s.Steps)
	}
	return fmt.Sprintf("%s β from %g to %g in %d steps", s.Kind(), s.Beta0, s.Beta1, s.Steps)
}
