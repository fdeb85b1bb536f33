package diffusion

import "fmt"

// Scheme says how a process is simulated: the process, a kernel, and the times of its steps.
type Scheme struct {
	VP       VP      `yaml:",inline"`
	Kernel   string  `yaml:"kernel"`             // euler-maruyama, ddpm, ddim
	Eta      float64 `yaml:"eta"`                // of ddim
	Variance string  `yaml:"variance,omitempty"` // of ddpm and ddim: posterior, which is also meant by "", beta, analytic; see [Variance]
	Steps    int     `yaml:"steps"`
	Power    float64 `yaml:"power"` // of the time grid, see [Times]
}

// Fitted reports whether the steps depend on the base model, so that [Scheme.Table] needs an estimate.
func (s Scheme) Fitted() bool { return s.Variance == "analytic" }

// Table returns the steps as a function of their number; as many as Steps says for 0. What is estimated of the base model serves any number
// of steps, and may be nil unless the scheme is [Scheme.Fitted]. Table panics if there is no such kernel, or none of such variance.
func (s Scheme) Table(fitted *Analytic) func(n int) []Step {
	v, err := s.variance(fitted)
	if err != nil {
		panic(err)
	}
	kernel, err := NewKernel(s.Kernel, s.Eta, v)
	if err != nil {
		panic(err)
	}
	return func(n int) []Step {
		if n <= 0 {
			n = s.Steps
		}
		return kernel.Steps(s.VP, Times(n, s.Power))
	}
}

func (s Scheme) variance(fitted *Analytic) (Variance, error) {
	switch {
	case s.Variance == "":
		return nil, nil
	case s.Variance == "posterior":
		return Posterior{}, nil
	case s.Variance == "beta":
		return Beta{}, nil
	case !s.Fitted():
		return nil, fmt.Errorf("diffusion: unknown variance %q: want posterior, beta or analytic", s.Variance)
	case fitted == nil:
		return nil, fmt.Errorf("diffusion: variance %s without an estimate: NewAnalytic makes one", s.Variance)
	}
	return fitted, nil
}
