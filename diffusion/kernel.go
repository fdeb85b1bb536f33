package diffusion

import (
	"errors"
	"fmt"
)

// Step is one reverse-time transition x' = A·x + K·ε + S·z from time T to time Next, with ε = ε_θ(x,T) + ε_h(x,T) and
// z ~ N(0, I). So a control shifts the mean by D = K·ε_h and the step's log dP/dP^h is −‖D‖²/(2S²) − ⟨D,z⟩/S.
type Step struct {
	T, Next float64
	A, K, S float64
	// Uncontrolled steps ignore the control: D = 0. A noise-free step (S = 0) must be uncontrolled, because with a
	// shifted mean it has no density ratio.
	Uncontrolled bool
}

// Kernel discretises the reverse SDE (4) of a process: it turns times, falling from 1 to 0, into steps.
type Kernel interface {
	Steps(p Process, times []float64) []Step
}

// NewKernel returns a kernel by name: "euler-maruyama", "ddpm", or "ddim" with the given eta, from 0 to 1: above,
// its steps do not keep the variance of the process. A nil variance is that which the kernel has by itself.
func NewKernel(name string, eta float64, v Variance) (Kernel, error) {
	switch name {
	case "euler-maruyama":
		if v != nil {
			return nil, errors.New("diffusion: kernel euler-maruyama has no choice of variance: its steps add that of the SDE, g²·d; want ddpm or ddim")
		}
		return EulerMaruyama{}, nil
	case "ddpm":
		return DDPM{v}, nil
	case "ddim":
		if !(eta >= 0 && eta <= 1) {
			return nil, fmt.Errorf("diffusion: eta is %g, want a number in [0, 1]", eta)
		}
		return DDIM{eta, v}, nil
	}
	return nil, fmt.Errorf("diffusion: unknown kernel %q: want euler-maruyama, ddpm or ddim", name)
}
