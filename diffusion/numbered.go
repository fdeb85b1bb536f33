package diffusion

import (
	"errors"
	"fmt"
	"math"
)

// Numbered is a simulation of a [Discrete] process as the library diffusers has it: which levels it visits, and where each step goes to. The zero
// value but for Steps is DDIM as Stable Diffusion is run, with η = 0.
//
// The kernels disagree on where a step from level k goes to. Not all of it is the next level of the list:
//
//	ddim        k − N div Steps, whatever the list says; below level 0 to ᾱ_0, or to 1 with ToData
//	ddpm        the next level of the list; after the last one to 1
//	memoryless  as ddim, but the last step to (1+ᾱ)/2, so that it has noise: adjoint matching (Domingo-Enrich et al. 2024)
type Numbered struct {
	Kernel  string  // ddim, which "" means too, ddpm, memoryless
	Eta     float64 // of ddim and memoryless: 1 for all the noise that the process has
	Spacing string  // leading, which "" means too, trailing, linspace
	Offset  int     // of leading: the lowest level; 1 in all pipelines
	Steps   int
	ToData  bool // set_alpha_to_one: the last step of ddim goes to no noise at all
	Large   bool // fixed_large: the noise of ddpm is β, which is right for data N(0, I), and not that of the posterior
	// Free is how many of the last steps ignore the control, D = 0. That is exact, and in the last steps the same change of ε weighs most: of the
	// 50 steps of DDIM with η = 1, the last but one, at level 21, has half of Σ(K/S)².
	Free int
}

// noiseFree is the standard deviation below which a step has no density that could be used: diffusers' DDPM has 1e-10 on its last step.
const noiseFree = 1e-6

// Levels returns the levels that are visited, falling.
func (n Numbered) Levels(p *Discrete) ([]int, error) {
	all := p.Levels()
	if n.Steps < 1 || n.Steps > all {
		return nil, fmt.Errorf("diffusion: got %d steps, expected 1 to %d, the levels that the model knows", n.Steps, all)
	}
	out := make([]int, n.Steps)
	for i := range out {
		switch n.Spacing {
		case "", "leading":
			out[i] = (n.Steps-1-i)*(all/n.Steps) + n.Offset
		case "trailing":
			out[i] = int(math.RoundToEven(float64(all)-float64(i)*float64(all)/float64(n.Steps))) - 1
		case "linspace":
			out[i] = int(math.RoundToEven(float64(all-1) * float64(n.Steps-1-i) / float64(max(1, n.Steps-1))))
		default:
			return nil, fmt.Errorf("diffusion: unknown spacing %q: want leading, trailing or linspace", n.Spacing)
		}
		if out[i] < 0 || out[i] >= all {
			return nil, fmt.Errorf("diffusion: step %d of %d is at level %d, expected 0 to %d: offset %d is too large", i+1, n.Steps, out[i], all-1, n.Offset)
		}
	}
	return out, nil
}

// Table returns the steps. A step whose noise is below 1e-6 has none, and is uncontrolled if others have noise; with η = 0 none has, and a [Sampler] refuses
// a control.
func (n Numbered) Table(p *Discrete) ([]Step, error) {
	levels, err := n.Levels(p)
	if err != nil {
		return nil, err
	}
	if !(n.Eta >= 0 && n.Eta <= 1) {
		return nil, fmt.Errorf("diffusion: eta is %g, want a number in [0, 1]", n.Eta)
	}
	if n.Free < 0 {
		return nil, errors.New("diffusion: the number of steps without control is negative")
	}
	steps := make([]Step, len(levels))
	noisy := false
	for i, level := range levels {
		a, b, next, err := n.next(p, levels, i)
		if err != nil {
			return nil, err
		}
		st := Step{T: p.LevelTime(level), Next: next, A: math.Sqrt(b / a)}
		posterior := math.Sqrt(max(0, (1-b)/(1-a)*(1-a/b)))
		if n.Kernel == "ddpm" {
			st.K = -st.A * (1 - a/b) / math.Sqrt(1-a)
			if st.S = posterior; n.Large {
				st.S = math.Sqrt(1 - a/b)
			}
		} else {
			st.S = n.Eta * posterior
			st.K = math.Sqrt(max(0, 1-b-st.S*st.S)) - st.A*math.Sqrt(1-a)
		}
		if st.S < noiseFree {
			st.S = 0
		}
		noisy = noisy || st.S > 0
		steps[i] = st
	}
	for i := range steps {
		steps[i].Uncontrolled = noisy && steps[i].S == 0 || i >= len(steps)-n.Free
	}
	return steps, nil
}

// next returns ᾱ where step i begins and where it ends, and the time there.
func (n Numbered) next(p *Discrete, levels []int, i int) (a, b, time float64, err error) {
	a = p.Bar(levels[i])
	previous := levels[i] - p.Levels()/n.Steps
	switch n.Kernel {
	case "", "ddim":
		if previous < 0 && n.ToData {
			previous = -1
		} else {
			previous = max(0, previous)
		}
	case "ddpm":
		previous = -1
		if i < len(levels)-1 {
			previous = levels[i+1]
		}
	case "memoryless":
		if previous < 0 {
			b = float64(float32((1 + a) / 2)) // a float32 number, as ᾱ are
			return a, b, p.timeOf(math.Log(b)), nil
		}
	default:
		return 0, 0, 0, fmt.Errorf("diffusion: unknown kernel %q: want ddim, ddpm or memoryless", n.Kernel)
	}
	return a, p.Bar(previous), p.LevelTime(previous), nil
}
