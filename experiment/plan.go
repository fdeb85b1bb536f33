package experiment

import (
	"context"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/report"
	"github.com/doob-diffusion/doob/reward"
)

// Plan is what a run will cost, for --dry-run: counts derived from the configuration, times from the speed of this
// machine, measured on a few batches.
type Plan struct {
	Title   string    `json:"title"`
	Rows    []PlanRow `json:"stages"`
	Memory  float64   `json:"memory_bytes"` // of populations, buffers and parameters
	Disk    float64   `json:"disk_bytes"`   // of the run folder
	Backend string    `json:"backend"`
}

// PlanRow is one stage of a plan.
type PlanRow struct {
	Name    string  `json:"name"`
	Paths   float64 `json:"paths"`
	Calls   float64 `json:"network_calls"`
	Seconds float64 `json:"seconds"` // about
}

// WriteText writes the plan as a table.
func (p Plan) WriteText(w io.Writer) error {
	t := report.Table{Columns: []report.Column{{Name: "stage"}, {Name: "paths", Right: true}, {Name: "calls", Right: true}, {Name: "about", Right: true}}}
	var total PlanRow
	for _, r := range p.Rows {
		t.Rows = append(t.Rows, []string{r.Name, metricCount(r.Paths), metricCount(r.Calls), duration(r.Seconds)})
		total.Paths, total.Calls, total.Seconds = total.Paths+r.Paths, total.Calls+r.Calls, total.Seconds+r.Seconds
	}
	t.Rows = append(t.Rows, []string{"in all", metricCount(total.Paths), metricCount(total.Calls), duration(total.Seconds)})
	t.Notes = []string{
		fmt.Sprintf("About %.0f MB of memory and %.1f MB on disk. Times are extrapolated from this machine's speed on backend %s.",
			p.Memory/1e6, p.Disk/1e6, p.Backend),
		"Nothing was written.",
	}
	if _, err := fmt.Fprintf(w, "%s\n\n", p.Title); err != nil {
		return err
	}
	return t.WriteText(w)
}

func duration(seconds float64) string {
	return time.Duration(seconds * float64(time.Second)).Round(time.Second).String()
}

// Plan returns what the toy will cost. It measures the speed of sampling and training for about a second.
func (t *Toy) Plan(ctx context.Context, backend string) (*Plan, error) {
	problem, err := newToyProblem(t)
	if err != nil {
		return nil, err
	}
	e, err := engine.Open(backend)
	if err != nil {
		return nil, err
	}
	key := noise.New(0)
	base, h := problem.baseModel(e, "/base", key), problem.control(e, "/h/plan", key)
	perCall, perUpdate, err := speed(ctx, problem.sampler(e, base, h), h, t.Batch, t.Importance, problem.dim())
	if err != nil {
		return nil, err
	}
	steps, n := float64(t.Process.Steps), float64(t.Samples)
	plan := &Plan{Backend: e.Name, Title: fmt.Sprintf("doob run toy: %d components, dimension %d, %s base score, %d %s steps, %d seed(s)",
		len(problem.prior.Means()), problem.dim(), t.Base, t.Process.Steps, t.Process.Kernel, t.Seeds)}
	add := func(name string, paths, calls, updates, batch float64) {
		calls += updates * batch * 2
		seeds := float64(t.Seeds)
		plan.Rows = append(plan.Rows, PlanRow{Name: name, Paths: seeds * paths, Calls: seeds * calls,
			Seconds: seeds * ((calls-updates*batch*2)*perCall + updates*batch*perUpdate)})
	}
	if t.Base == "learned" {
		p := t.Pretrain
		add("pretrain", 0, 0, float64(p.Steps)/2, float64(p.Batch))
	}
	for _, name := range toyMethods {
		if !t.wants(name) {
			continue
		}
		switch name {
		case "base", "smc_fk":
			add(name, n, n*steps, 0, 0)
		case "guidance":
			tune := float64(len(t.Guidance.Scales) * t.Guidance.Paths)
			add(name, tune+n, 2*(tune+n)*steps, 0, 0)
		case "smc_twisted":
			add(name, n, 2*n*steps, 0, 0)
		case "importance_smc":
			n *= float64(t.ImportanceSMC.Particles)
			add(name, n, 2*n*steps, 0, 0)
			n = float64(t.Samples)
		default:
			l := t.loop(name)
			paths, updates, batch := float64(l.Iterations*l.Paths), float64(l.Iterations*l.Training.Updates), float64(l.Training.Batch)
			unrolled := float64(l.Steps)
			if l.Steps == 0 || name == "vargrad" && l.Steps > t.Process.Steps {
				unrolled = steps
			}
			switch name {
			case "online":
				add(name, paths+n+updates*batch, 2*(paths+n)*steps+float64(l.Prefill)*steps, updates*unrolled, batch)
			case "vargrad":
				add(name, paths+n, 2*(paths+n)*steps+float64(l.Prefill)*steps, float64(l.Iterations)*unrolled, float64(l.Paths))
			default:
				add(name, paths+n+float64(l.Prefill), 2*(paths+n)*steps+float64(l.Prefill)*steps, updates, batch)
			}
		}
	}
	var parameters float64
	for v := range e.Params.IterVariables() {
		parameters += float64(v.Shape().ByteSize())
	}
	particles := n * float64(max(1, t.ImportanceSMC.Particles))
	plan.Memory = 60e6 + 4*parameters + particles*float64(problem.dim())*4*6 + 24*particles + 4*8*n*n/1e3
	plan.Disk = 3e6 + parameters*float64(1+len(t.Methods))/3
	return plan, nil
}

// speed measures seconds per network call in sampling with a control, and per sample of a supervised gradient step.
func speed(ctx context.Context, s *diffusion.Sampler, h htransform.Learned, batch int, loop Loop, dim int) (perCall, perUpdate float64, err error) {
	s.Steps = s.Steps[:min(4, len(s.Steps))]
	loop.Training.Updates = 1
	objective, err := finetune.NewSupervised(s, h, loop.Training, loop.KL)
	if err != nil {
		return 0, 0, err
	}
	rows := 2 * batch
	for range 2 { // the first run compiles
		start := time.Now()
		if _, err = s.Run(ctx, noise.New(0), 0, rows, nil); err != nil {
			return 0, 0, err
		}
		perCall = time.Since(start).Seconds() / float64(2*rows*len(s.Steps))
	}
	buffer := &finetune.Buffer{Capacity: 1, Dim: dim}
	buffer.Append(make([]float32, dim))
	for i := range 3 {
		start := time.Now()
		if _, err = objective.Fit(ctx, noise.New(0).At(i), finetune.Weighted{}, buffer); err != nil {
			return 0, 0, err
		}
		perUpdate = time.Since(start).Seconds() / float64(loop.Training.Batch)
	}
	return perCall, perUpdate, nil
}

// Plan returns what the MNIST run will cost. It measures the speed of sampling and training on a few batches.
func (m *MNIST) Plan(ctx context.Context, backend string) (*Plan, error) {
	e, err := engine.Open(backend)
	if err != nil {
		return nil, err
	}
	key := noise.New(0)
	classifier := m.classifier(e, "/classifier")
	classifier.Init(key, 1, 0)
	r, err := reward.NewClass(e, classifier, []int{0}, m.Scale, imageShape, m.Batch)
	if err != nil {
		return nil, err
	}
	prior := m.prior(e, "/base")
	prior.Velocity.Init(key, 0, 0)
	h, err := m.control(e, "/h/plan", r, prior, key)
	if err != nil {
		return nil, err
	}
	perCall, perUpdate, err := speed(ctx, m.sampler(e, prior, h), h, m.Batch, m.Importance, pixels)
	if err != nil {
		return nil, err
	}
	steps, n := float64(m.Process.Steps), float64(m.Samples)
	times := float64(len(m.Tasks) * m.Seeds)
	trained := float64(m.Pretrain.Steps * m.Pretrain.Batch)
	plan := &Plan{Backend: e.Name, Title: fmt.Sprintf("doob run mnist: %d task(s), %d seed(s), prior of %d parameters, %d %s steps", len(m.Tasks), m.Seeds,
		m.Network.net(nil, 1, 1).Size(), m.Process.Steps, m.Process.Kernel),
		Rows: []PlanRow{{Name: "base model", Calls: trained, Seconds: trained * perUpdate}}}
	// Base paths are shared by the tasks, and charged to every method that uses them: they take time once.
	add := func(name string, base, guided, updates, batch float64) { // paths of the base model, and with a control
		plan.Rows = append(plan.Rows, PlanRow{Name: name, Paths: times * (base + guided), Calls: times * ((base+2*guided)*steps + 2*updates*batch),
			Seconds: times * (2*guided*steps*perCall + updates*batch*perUpdate)})
	}
	pool := float64(m.Pool)
	shared := float64(m.Seeds) * float64(m.basePaths())
	plan.Rows = append(plan.Rows, PlanRow{Name: "base paths", Seconds: shared * steps * perCall})
	for _, name := range m.Methods {
		changed, err := m.variant(name)
		if err != nil {
			return nil, err
		}
		switch name {
		case "base":
			add(name, n, 0, 0, 0)
		case "best_of_k":
			add(name, n*float64(m.BestOfK), 0, 0, 0)
		case "resampled":
			add(name, max(n, pool), 0, 0, 0)
		case "guidance":
			add(name, 0, n+float64(len(m.Guidance.Scales)*m.Guidance.Paths), 0, 0)
		case "smc":
			add(name, 0, n, 0, 0)
		case "importance_amplified":
			add(name, 0, n+float64(len(m.Amplified.Scales)*m.Amplified.Paths), 0, 0)
		case "importance_rejection":
			add(name, 0, math.Ceil(n/m.Rejection.Rate), 0, 0)
		case "importance_smc":
			add(name, 0, n*float64(m.ImportanceSMC.Particles), 0, 0)
		case "vargrad":
			l := m.VarGrad
			perStep := float64(l.Steps)
			if l.Steps == 0 || l.Steps > m.Process.Steps {
				perStep = steps
			}
			add(name, 0, n+float64(l.Iterations*l.Paths), float64(l.Iterations), perStep*float64(l.Paths))
		default:
			l := changed.loop(name)
			first := 0.0
			if pool > 0 {
				first = 1
			}
			add(name, pool, n+(float64(l.Iterations)-first)*float64(l.Paths), float64(l.Iterations*l.Training.Updates), float64(l.Training.Batch))
		}
	}
	var parameters float64
	for v := range e.Params.IterVariables() {
		parameters += float64(v.Shape().ByteSize())
	}
	plan.Memory = 70_000*pixels*4 + 150e6 + 4*parameters + 4*pixels*(6*max(n*float64(max(m.BestOfK, 1)), pool)+float64(m.Importance.Buffer))
	plan.Disk = 3e6 + parameters*(1+float64(len(m.Tasks)*(m.Seeds+len(m.Methods)))/6)
	return plan, nil
}
