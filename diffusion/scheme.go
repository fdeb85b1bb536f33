package diffusion

import "fmt"

// Scheme says how a process is simulated: the process, a kernel, and the times of its steps. That of a model which knows numbered noise levels is as in
// [Numbered].
type Scheme struct {
	VP       VP      `yaml:",inline"`
	Kernel   string  `yaml:"kernel"`             // euler-maruyama, ddpm, ddim; of numbered levels ddim, ddpm, memoryless
	Eta      float64 `yaml:"eta"`                // of ddim and memoryless
	Variance string  `yaml:"variance,omitempty"` // of ddpm and ddim: posterior, which is also meant by "", beta, analytic; see [Variance]
	Steps    int     `yaml:"steps"`
	Power    float64 `yaml:"power,omitempty"` // of the time grid, see [Times]
	// Free is how many of the last steps ignore the control, see [Numbered].
	Free int `yaml:"free,omitempty" json:",omitempty"`

	// Levels are those of a model with numbered noise levels, in place of VP and Power. Spacing and ToData are as in [Numbered], whose offset is 1.
	Levels  *Discrete `yaml:"-" json:"-"`
	Spacing string    `yaml:"spacing,omitempty" json:",omitempty"`
	ToData  bool      `yaml:"-" json:",omitempty"`
}

// Process returns the process that is simulated.
func (s Scheme) Process() Process {
	if s.Levels != nil {
		return s.Levels
	}
	return s.VP
}

// Fitted reports whether the steps depend on the base model, so that [Scheme.Table] needs an estimate.
func (s Scheme) Fitted() bool { return s.Variance == "analytic" }

// Table returns the steps as a function of their number; as many as Steps says for 0. What is estimated of the base model serves any number
// of steps, and may be nil unless the scheme is [Scheme.Fitted]. Table panics if there is no such kernel, or none of such variance; and so does what
// it returns if there are no such numbered levels.
func (s Scheme) Table(fitted *Analytic) func(n int) []Step {
	if s.Levels != nil {
		return s.numbered
	}
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
		steps := kernel.Steps(s.VP, Times(n, s.Power))
		for i := max(0, n-s.Free); i < n; i++ {
			steps[i].Uncontrolled = true
		}
		return steps
	}
}

func (s Scheme) numbered(n int) []Step {
	if n <= 0 {
		n = s.Steps
	}
	steps, err := s.Numbered(n).Table(s.Levels)
	if err != nil {
		panic(err)
	}
	return steps
}

// Numbered returns what a scheme of numbered levels says of n steps.
func (s Scheme) Numbered(n int) Numbered {
	return Numbered{Kernel: s.Kernel, Eta: s.Eta, Spacing: s.Spacing, Offset: 1, Steps: n, ToData: s.ToData, Free: s.Free}
}

// Memoryless returns a scheme of as many steps with all the noise that the process has, so that where a path ends does not depend on where it
// began: what adjoint matching trains on (Domingo-Enrich et al. 2024). Of numbered levels these are the memoryless steps of [Numbered], from
// the last level on, else those of ddpm in place of ddim; euler-maruyama and ddpm have all noise already.
func (s Scheme) Memoryless() Scheme {
	switch {
	case s.Levels != nil:
		s.Kernel, s.Eta, s.Spacing, s.ToData = "memoryless", 1, "trailing", false
	case s.Kernel == "ddim":
		s.Kernel, s.Eta = "ddpm", 0
	}
	return s
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
