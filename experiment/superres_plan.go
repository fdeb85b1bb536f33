package experiment

import (
	"context"
	"fmt"

	"github.com/doob-diffusion/doob/data"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/nn"
)

// Plan returns what the run will cost. It measures the speed of sampling and training on a few batches.
func (s *SuperRes) Plan(ctx context.Context, backend string) (*Plan, error) {
	c := *s // with data settled as far as it takes no reading
	if c.Data == "auto" {
		c.Data = "flowers102"
	}
	c.Backend = backend
	r, err := c.newRun(nil, data.Images{}, data.Images{})
	if err != nil {
		return nil, err
	}
	parameters := 0
	if !c.gaussian() {
		r.prior(r.engine, nn.Averaged("/base")).Velocity.Init(r.key, 0, 0)
		parameters = r.Network.net(nil, r.channels(), r.channels()).Size()
	}
	if err := r.likelihood(ctx); err != nil {
		return nil, err
	}
	h, err := r.control(r.engine, "/h/plan", r.key)
	if err != nil {
		return nil, err
	}
	zeros := make([]float32, engine.Size(r.reward.Shape))
	r.measured = zeros
	perCall, perUpdate, err := speed(ctx, r.sampler(r.engine, h, r.single(0), 0), h, c.Batch, c.Importance, r.pixels())
	if err != nil {
		return nil, err
	}
	plan := &Plan{Backend: r.engine.Name, Title: fmt.Sprintf("doob run superres: %s of %d measurements, %d samples each, %d seed(s), prior of %d parameters, %d %s steps",
		c.Operator, c.Measurements, c.Samples, c.Seeds, parameters, c.Process.Steps, c.Process.Kernel)}
	if !c.gaussian() {
		trained := float64(c.Pretrain.Steps * c.Pretrain.Batch)
		plan.Rows = append(plan.Rows, PlanRow{Name: "base model", Calls: trained, Seconds: trained * perUpdate})
	}
	steps, all := float64(c.Process.Steps), float64(c.Measurements*c.Samples)
	// A backward pass through the base model takes twice a call.
	add := func(name string, paths, steps, updates, batch, backward float64) {
		seeds := float64(c.Seeds)
		plan.Rows = append(plan.Rows, PlanRow{Name: name, Paths: seeds * paths, Calls: seeds * (2*paths*steps + 2*updates*batch),
			Seconds: seeds * ((2+2*backward)*paths*steps*perCall + updates*batch*perUpdate)})
	}
	for _, name := range superResMethods {
		l := c.loop(name)
		learned := float64(l.Iterations * l.Paths)
		switch {
		case !c.wants(name) || name == "bicubic":
		case name == "dps":
			add(name, all+float64(len(c.Guidance.Scales)*c.Guidance.Paths), steps, 0, 0, 1)
		case name == "smc":
			add(name, all*float64(c.SMC.Particles), steps, 0, 0, 1)
		case name == "importance_fast":
			add(name, all, float64(c.Fast), 0, 0, 0)
		case name == "vargrad":
			per := float64(l.Steps)
			if l.Steps == 0 || l.Steps > c.Process.Steps {
				per = steps
			}
			add(name, all+learned, steps, float64(l.Iterations), per*float64(l.Paths), 0)
		case name == "importance_single":
			add(name, float64(c.Samples)+learned, steps, float64(l.Iterations*l.Training.Updates), float64(l.Training.Batch), 0)
		default:
			add(name, all+learned, steps, float64(l.Iterations*l.Training.Updates), float64(l.Training.Batch), 0)
		}
	}
	var bytes float64
	for v := range r.engine.Params.IterVariables() {
		bytes += float64(v.Shape().ByteSize())
	}
	plan.Memory = 600e6 + 4*bytes + 4*float64(r.pixels())*(6*all+float64(c.Importance.Buffer))
	plan.Disk = 3e6 + bytes
	return plan, nil
}
