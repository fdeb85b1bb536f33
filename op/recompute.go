package op

import "github.com/gomlx/gomlx/core/graph"

// Recomputed returns fn of the inputs, of which the backward pass finds only inputs and result in memory: what it needs
// of the values between, it computes again when it gets there (Chen et al. 2016, "Training deep nets with sublinear memory
// cost"). What fn uses besides the inputs, such as parameters, is kept. A result that no gradient needs is not computed
// again, such as that of a last convolution.
func Recomputed(fn func(in []*graph.Node) *graph.Node, inputs []*graph.Node) *graph.Node {
	in := make([]*graph.Node, len(inputs))
	for i, x := range inputs {
		// All that depends on a checkpoint is computed again when something is differentiated through it: so would be the
		// gradients, and what is made of them. Those that leave are therefore kept.
		x = graph.IdentityWithCustomGradient(x, func(_, v *graph.Node) *graph.Node { return v.StopCheckpoint() })
		// GoMLX's clone of a checkpoint is the node before it, which then loses its own gradient: let that be another one.
		in[i] = x.StopCheckpoint().Checkpoint()
	}
	return fn(in).StopCheckpoint()
}
