package method

// Work is what one target asks for, to predict costs by.
type Work struct {
	Samples     float64 // of all conditions
	Conditions  float64
	Steps       float64 // of a path
	Pool        float64 // base paths in place of iteration 1
	Dim         float64 // numbers in a sample
	Self        float64 // networks in a learned h besides that which learns: 1 where h is relative to the base model's own fit, or 0
	Evaluations float64 // of a network that one of the base model and one of h are: 2 under classifier-free guidance; 0 means 1
	Defended    bool    // base paths are simulated with the control, to certify it: see [Target.Draw]
}

// learned is the number of networks in a learned h.
func (w Work) learned() float64 { return 1 + w.Self }

// drawn is the number of paths that drawing the samples takes.
func (w Work) drawn() float64 {
	if w.Defended {
		return w.Samples + float64(defence(int(w.Samples)))
	}
	return w.Samples
}

// Cost is a prediction. Times follow from it and the speed of a machine.
type Cost struct {
	Base     float64 // paths of the base model alone
	Shared   float64 // of those, paths that other methods have simulated too
	Paths    float64 // paths with a control
	Steps    float64 // of a path, if not those of the process
	Through  float64 // backward passes through the base model, per step
	Updates  float64 // gradient steps
	Batch    float64 // samples in each, with base model and control
	Networks float64 // in a control, for a step of its paths: 0 of guidance, which is a gradient
	Further  float64 // further networks on a sample in a gradient step
	Adjoint  float64 // evaluations of the base model on a sample with a backward pass through it, beside Paths and Updates
	Unguided bool    // gradient steps are without the guidance that paths have
	Own      float64 // paths that gradient steps simulate themselves
	Rows     float64 // samples simulated at the same time
	Kept     float64 // samples that are kept meanwhile, such as in a replay buffer
}

// Calls returns the network evaluations on one sample. A step takes that of the base model and those of its control: one of a learned h, as does a
// sample in a gradient step, two where h is relative to the base model's own fit. A backward pass counts as two calls for adjoints, and else is none.
func (c Cost) Calls(w Work) float64 {
	steps := w.Steps
	if c.Steps > 0 {
		steps = c.Steps
	}
	paths, training := (c.Base+(1+c.Networks)*c.Paths)*steps, (2+c.Further)*c.Updates*c.Batch+3*c.Adjoint
	if c.Unguided {
		return max(1, w.Evaluations)*paths + training
	}
	return max(1, w.Evaluations) * (paths + training)
}

// Seconds returns the time at so many seconds for a network call in sampling, and for a sample in a gradient step. A backward pass takes
// twice a forward one.
func (c Cost) Seconds(w Work, perCall, perUpdate float64) float64 {
	steps := w.Steps
	if c.Steps > 0 {
		steps = c.Steps
	}
	return (((c.Base-c.Shared)+(1+c.Networks+2*c.Through)*c.Paths)*steps+3*c.Adjoint)*perCall + c.Updates*c.Batch*perUpdate
}

// Memory returns the bytes of all samples in memory. A path that is simulated has its state, ε_θ, ε_h and as much again while it is
// resampled or measured, in float32, and five log weights in float64.
func (c Cost) Memory(w Work) float64 { return c.Rows*(4*6*w.Dim+8*5) + c.Kept*4*w.Dim }
