package diffusion

// Scheme says how a process is simulated: the process, a kernel, and the times of its steps.
type Scheme struct {
	VP     VP      `yaml:",inline"`
	Kernel string  `yaml:"kernel"` // euler-maruyama, ddpm, ddim
	Eta    float64 `yaml:"eta"`    // of ddim
	Steps  int     `yaml:"steps"`
	Power  float64 `yaml:"power"` // of the time grid, see [Times]
}

// Table returns the steps, n of them; as many as Steps says for 0. It panics if there is no such kernel.
func (s Scheme) Table(n int) []Step {
	if n <= 0 {
		n = s.Steps
	}
	kernel, err := NewKernel(s.Kernel, s.Eta)
	if err != nil {
		panic(err)
	}
	return kernel.Steps(s.VP, Times(n, s.Power))
}
