package finetune

import (
	"errors"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/nn"
)

// played are recorded transitions under the h that is learned.
type played struct {
	X      *graph.Node // before the step [batch, …]
	EpsH   *graph.Node // ε_h at X, of the h that is learned
	Shift  *graph.Node // K/S of the step [batch]: the control moves its mean by that many standard deviations times ε_h
	Step   *graph.Node // its number [batch]
	Earned *graph.Node // reward of its path, or advantage [batch]
	Ratio  *graph.Node // ρ [batch], see ratio
}

// ratio returns ρ = exp(log p_new − log p_old) of steps [batch], log p being the mean over the numbers of a sample of the log density of each. With
// Δ/s = K/S·(ε_new − ε_old) and the noise z that was really added, every number has
//
//	log p_new − log p_old = Δ·z/s − (Δ/s)²/2
//
// The mean in place of the sum is what DPOK and DDPO take, on which their narrow clipping depends.
func ratio(epsH, old, z, shift *graph.Node) *graph.Node {
	delta := graph.Mul(diffusion.Column(shift, epsH), graph.Sub(epsH, old))
	each := graph.Mul(delta, graph.Sub(z, graph.MulScalar(delta, 0.5)))
	return graph.Exp(graph.ReduceMean(graph.Reshape(each, each.Shape().Dimensions[0], -1), -1))
}

// newPolicy compiles a loss of transitions, of inputs as a recorder makes them. From then on the sampler simulates with h itself and not its average: the
// old density is that of the h which is learned.
func newPolicy(s *diffusion.Sampler, h htransform.Learned, optimizer nn.Optimizer, loss func(played) *graph.Node) (*nn.Trainer, error) {
	if s.Given != nil {
		return nil, errors.New("finetune: policy gradients are not made for samplers with conditions: what is expected of a path would depend on its condition")
	}
	if len(controlled(s.Steps)) == 0 {
		return nil, errUncontrolled
	}
	trainer, err := nn.NewTrainer(s.Engine, h.Parameters(), optimizer, func(in []*graph.Node) *graph.Node {
		x, step, earned, t, z, old, shift := in[0], in[1], in[2], in[3], in[4], in[5], in[6]
		epsH := diffusion.State{Process: s.Process, X: x, T: t}.Evaluate(s.Base).Noise(h)
		return loss(played{X: x, EpsH: epsH, Shift: shift, Step: step, Earned: earned, Ratio: ratio(epsH, old, z, shift)})
	})
	if err != nil {
		return nil, err
	}
	return trainer, s.Guide(h)
}
