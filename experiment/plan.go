package experiment

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gomlx/gomlx/ml/model"

	"github.com/doob-diffusion/doob/data"
	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/internal/machine"
	"github.com/doob-diffusion/doob/method"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/report"
)

// Plan is what a run will cost: counts and sizes that follow from the configuration, times from the speed of this machine. A run whose plan
// does not fit is refused.
type Plan struct {
	Title   string    `json:"title"`
	Rows    []planRow `json:"stages"`
	Memory  float64   `json:"memory_bytes"` // at the largest stage
	Largest string    `json:"largest"`      // that stage
	Disk    float64   `json:"disk_bytes"`   // of the run folder
	Backend string    `json:"backend"`
	Missing string    `json:"missing,omitempty"` // why no times are known: the data set is not there
	// Cautions say where numbers will mean less than they seem to.
	Cautions []string `json:"cautions,omitempty"`

	networks float64 // bytes
	batch    float64 // rows, as far as there are so many
}

// planRow is one stage of a plan, over all tasks and seeds.
type planRow struct {
	Name    string  `json:"name"`
	Paths   float64 `json:"paths"`
	Calls   float64 `json:"network_calls"`
	Seconds float64 `json:"seconds"` // about; 0 where speed was not measured
}

// NewPlan returns what a problem will cost. It measures the speed of the networks and of sampling for some seconds. Without the data set
// nothing is measured, and the plan says so; a problem that cannot be prepared without has none.
func NewPlan(ctx context.Context, p Problem, backend string) (*Plan, error) {
	source, missing := p.Load()
	if missing != nil && !errors.Is(missing, data.ErrMissing) {
		return nil, missing
	}
	p.common().Backend = backend
	out, err := plan(ctx, p, source, missing == nil)
	if err != nil {
		return nil, cmp.Or(missing, err)
	}
	if missing != nil {
		out.Missing = missing.Error()
	}
	out.Cautions = Cautions(p)
	return out, nil
}

// plan predicts counts and sizes, and times if they are to be measured.
func plan(ctx context.Context, p Problem, source data.Source, measure bool) (*Plan, error) {
	p = clone(p) // what is prepared here has networks without training
	c := p.common()
	e, err := engine.Open(c.Backend)
	if err != nil {
		return nil, err
	}
	l := &Lab{Engine: e, Key: noise.New(c.Seed), problem: p, seed: c.Seed, book: newBook(p), pool: &method.Pool{},
		fitted: &diffusion.Analytic{LogSNR: []float64{0}, Left: []float64{1}}} // of which no cost depends
	out := &Plan{Backend: e.Name}
	networks := p.Networks()
	if c.Self.On() && !slices.ContainsFunc(networks, func(n Network) bool { return strings.HasPrefix(n.Name, selfName) }) {
		return nil, fmt.Errorf("%w: self.paths is %d, want 0: %s makes no own fit of its base model", ErrConfig, c.Self.Paths, c.Experiment)
	}
	for _, n := range networks {
		row, times := planRow{Name: n.stage()}, 1.0
		if n.EachSeed {
			times = float64(c.Seeds)
		}
		parameters, err := n.Init(e.Scope(nn.Averaged("/"+n.Name)), l.Key)
		if err != nil {
			return nil, err
		}
		bytes := size(parameters)
		out.networks += bytes
		out.Disk += times * bytes
		stored, err := storedNetwork((&run{problem: p, data: source}).address(n, c.Seed))
		if err != nil || !exists(stored) {
			row.Paths, row.Calls = times*float64(n.Paths), times*cmp.Or(n.Calls, float64(n.Steps*c.Pretrain.Batch))
			if measure {
				perStep, err := n.speed(e, l.Key)
				if err != nil {
					return nil, err
				}
				row.Seconds = times * float64(n.Steps) * perStep
			}
		}
		out.Rows = append(out.Rows, row)
	}
	if err := p.Prepare(ctx, l); err != nil {
		return nil, err
	}
	return out, out.methods(ctx, l, measure)
}

// methods adds what all methods will cost.
func (p *Plan) methods(ctx context.Context, l *Lab, measure bool) error {
	c, tasks := l.problem.common(), l.problem.Tasks()
	_, t, _, err := l.target(ctx, tasks[0], "base")
	if err != nil {
		return err
	}
	var perCall, perUpdate float64
	held := 0.0 // by what was measured: a gradient step of a large model takes more than all that it leaves
	if measure {
		watched := machine.ResetPeak()
		if perCall, perUpdate, err = speed(ctx, c, t); err != nil {
			return err
		}
		if peak, ok := machine.Peak(); ok && watched {
			held = peak
		}
	}
	for i := range p.Rows { // what networks are trained on
		p.Rows[i].Seconds += p.Rows[i].Paths * float64(c.Process.Steps) * perCall
	}
	if c.Process.Fitted() { // once per base model
		models := 1.0
		if slices.ContainsFunc(l.problem.Networks(), func(n Network) bool { return n.EachSeed }) {
			models = float64(c.Seeds)
		}
		calls := models * float64(diffusion.AnalyticCalls(engine.Size(t.Shape), c.Batch))
		p.Rows = append(p.Rows, planRow{Name: "kernel variance", Calls: calls, Seconds: calls * perCall})
	}
	h, err := t.H(t.Engine.Fork(), l.Key, t.Reward)
	if err != nil {
		return err
	}
	learned, work := size(h.Parameters()), t.Work()
	times, largest, shared := float64(len(tasks)*c.Seeds), 0.0, 0.0
	for _, name := range c.Methods {
		_, m, err := variant(l.problem, name)
		if err != nil {
			return err
		}
		cost := m.Cost(work)
		bytes := cost.Memory(work)
		shared = max(shared, cost.Shared)
		if method.Learns(m) {
			bytes += 4 * learned // with moments and averages
			p.Disk += float64(len(tasks)) * learned
			if c.States {
				p.Disk += times * (4*learned + cost.Kept*4*work.Dim)
			}
		}
		if bytes >= largest {
			largest, p.Largest = bytes, name
		}
		p.Rows = append(p.Rows, planRow{name, times * (cost.Base + cost.Paths + cost.Own), times * cost.Calls(work), times * cost.Seconds(work, perCall, perUpdate)})
	}
	if shared > 0 { // charged to all that use them, simulated once for all tasks with a base model
		roots := map[noise.Key]bool{}
		for _, task := range tasks {
			roots[l.problem.Keys(c.Seed, task, "").Root] = true
		}
		p.Rows = append(p.Rows, planRow{Name: "base paths", Seconds: float64(c.Seeds*len(roots)) * shared * work.Steps * perCall})
	}
	if c.KeepSamples {
		p.Disk += float64(len(tasks)*len(c.Methods)) * work.Samples * 4 * work.Dim
	}
	p.batch = min(float64(c.Batch), c.rows(work))
	// What this process has now is the program, the data, and with measured speed all that networks need for their batches.
	p.Memory = max(held, machine.Resident()) + 2*p.networks + largest + 4*4*work.Dim*p.batch
	p.Title = fmt.Sprintf("doob run %s: %s, %s, %d %s steps, networks of %s parameters", c.Experiment, counted(len(tasks), "task"), counted(c.Seeds, "seed"), c.Process.Steps,
		c.Process.Kernel, count((p.networks+learned)/4))
	return nil
}

// rows is the most that any method simulates at the same time, whether the run has it or not: results depend on the size of a batch in their
// last digits, and must not on the other methods.
func (c *Common) rows(w method.Work) (most float64) {
	_, endings := method.Names()
	all := maps.Clone(c.settings)
	for _, ending := range endings {
		if name := "importance" + ending; all[name] == nil {
			all[name] = method.New(name)
		}
	}
	for _, m := range all {
		most = max(most, m.Cost(w).Rows)
	}
	return most
}

// size returns the bytes of parameters.
func size(parameters []*model.Variable) (bytes float64) {
	for _, v := range parameters {
		bytes += float64(v.Shape().ByteSize())
	}
	return bytes
}

// refuse returns an error if a run cannot fit into memory, or on the disk of its folder; "" if nothing is written. A batch larger than anything that is simulated becomes
// as large as that: it would cost as much as if it were full.
func refuse(p Problem, source data.Source, folder string) error {
	out, err := plan(context.Background(), p, source, false)
	if err != nil {
		return err
	}
	p.common().Batch = max(1, int(out.batch))
	if folder == "" {
		return fits(out.Memory, out.Largest)
	}
	if free, ok := machine.Disk(folder); ok && out.Disk > free {
		return fmt.Errorf("%w: the run folder will have about %s, and %s are free at %s", errTooLarge, bytesText(out.Disk), bytesText(free), filepath.Clean(folder))
	}
	if err := fits(out.Memory, out.Largest); err != nil {
		return fmt.Errorf("%w; --dry-run tells how much", err)
	}
	return nil
}

// fits refuses to begin what cannot be held in memory.
func fits(bytes float64, what string) error {
	if available, ok := machine.Memory(); ok && bytes > available+machine.Resident() {
		return fmt.Errorf("%w: %s takes about %s of memory, and %s are available; fewer samples or paths take less", errTooLarge, what,
			bytesText(bytes), bytesText(available))
	}
	return nil
}

func bytesText(v float64) string {
	for _, unit := range []string{"B", "kB", "MB", "GB", "TB"} {
		if math.Abs(v) < 1000 {
			return fmt.Sprintf("%.3g %s", v, unit)
		}
		v /= 1000
	}
	return fmt.Sprintf("%.3g PB", v)
}

// Duration is about what all stages will take.
func (p *Plan) Duration() time.Duration {
	var total float64
	for _, r := range p.Rows {
		total += r.Seconds
	}
	return time.Duration(total * float64(time.Second)).Round(time.Second)
}

// Table is the plan for people.
func (p Plan) Table() report.Table {
	t := report.Table{Columns: []report.Column{{Name: "stage"}, {Name: "paths", Right: true}, {Name: "calls", Right: true}, {Name: "about", Right: true}}}
	total := planRow{Name: "in all"}
	for _, r := range append(slices.Clone(p.Rows), total) {
		if r.Name == total.Name {
			r = total
		}
		about := duration(r.Seconds)
		if p.Missing != "" {
			about = "unknown"
		}
		t.Rows = append(t.Rows, []string{r.Name, count(r.Paths), count(r.Calls), about})
		total.Paths, total.Calls, total.Seconds = total.Paths+r.Paths, total.Calls+r.Calls, total.Seconds+r.Seconds
	}
	t.Notes = []string{
		fmt.Sprintf("About %s of memory, most of it for %s, and %s on disk.", bytesText(p.Memory), p.Largest, bytesText(p.Disk)),
		fmt.Sprintf("Times are extrapolated from this machine's speed on backend %s; stored networks take none. Nothing was written.", p.Backend),
	}
	if p.Missing != "" {
		t.Notes[1] = "Times are not known without the data set. Nothing was written.\n" + p.Missing
	}
	t.Notes = append(t.Notes, p.Cautions...)
	return t
}

// slow is how long a step of a model on one row takes at least if measuring it as often as that of a small one would be a matter of many minutes.
const slow = 2 * time.Second

// speed measures seconds per network call in sampling with a control, and per sample of a supervised gradient step.
func speed(ctx context.Context, c *Common, t *method.Target) (perCall, perUpdate float64, err error) {
	e := t.Engine.Fork()
	h, err := t.H(e, noise.New(0), t.Reward)
	if err != nil {
		return 0, 0, err
	}
	s := t.Sampler(nil, t.Learn, 0)
	s.Engine, s.Steps = e, s.Steps[:min(4, len(s.Steps))]
	training := t.Training
	training.Updates, training.Batch = 1, c.Pretrain.Batch
	if m, ok := c.Method("importance").(*method.Importance); ok && m.Batch > 0 {
		training.Batch, training.Optimizer = m.Batch, m.Optimizer
	}
	rows, again := 2*c.Batch, 3
	probe, took := t.Sampler(nil, t.Learn, 0), time.Duration(0)
	probe.Engine, probe.Steps, probe.Batch = t.Engine.Fork(), s.Steps[:1], 1
	for i := 0; i == 0 || i == 1 && took > slow; i++ { // the first run compiles
		start := time.Now()
		if _, err := probe.Run(ctx, noise.New(0), 0, 1, nil); err != nil {
			return 0, 0, err
		}
		took = time.Since(start)
	}
	if took > slow {
		rows, again, s.Batch, s.Steps, training.Batch = 1, 2, 1, s.Steps[:1], 1
	}
	objective, err := finetune.NewSupervised(s, h, training, 0)
	if err != nil {
		return 0, 0, err
	}
	for range 2 { // the first run compiles
		start := time.Now()
		if _, err = s.Run(ctx, noise.New(0), 0, rows, nil); err != nil {
			return 0, 0, err
		}
		perCall = time.Since(start).Seconds() / ((2 + t.Work().Self) * float64(rows*len(s.Steps)))
	}
	dim := engine.Size(t.Shape)
	buffer := &finetune.Buffer{Capacity: 1, Dim: dim}
	buffer.Append(make([]float32, dim))
	for i := range again {
		start := time.Now()
		if _, err = objective.Fit(ctx, noise.New(0).At(i), finetune.Weighted{}, buffer); err != nil {
			return 0, 0, err
		}
		perUpdate = time.Since(start).Seconds() / float64(training.Batch)
	}
	return perCall, perUpdate, nil
}

// speed measures the seconds of a training step. The engine has the networks before, trained or not.
func (n Network) speed(trained *engine.Engine, key noise.Key) (seconds float64, err error) {
	e := trained.Fork()
	ground := Ground{Engine: e, Scope: e.Scope("/" + n.Name), Trained: trained}
	if _, err := n.Init(ground.Scope, key); err != nil {
		return 0, err
	}
	trainer, inputs, err := n.Train(ground, key)
	if err != nil {
		return 0, err
	}
	for i := range 3 {
		start := time.Now()
		if _, err := trainer.Step(inputs(i)...); err != nil {
			return 0, err
		}
		seconds = time.Since(start).Seconds()
	}
	return seconds, nil
}
