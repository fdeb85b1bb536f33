package experiment

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/report"
)

// Evaluation says of which run to compute the metrics again.
type Evaluation struct {
	Folder  string
	N       int    // samples of each method; 0 means as many as the run has measured
	Seed    uint64 // of the samples; that of the run gives the run's own
	From    string // folder with the files of the data set; "" means that of the run
	Backend string
}

// Evaluated are the metrics of new samples, of the base model and of every method that has left a checkpoint.
type Evaluated struct {
	Experiment string `json:"experiment"`
	Folder     string `json:"folder"`
	Seed       uint64 `json:"seed"`
	Samples    int    `json:"samples"` // of each method and task
	Backend    string `json:"backend"`
	Version    string `json:"version"`
	// Complete is false for a run that was stopped: there may be fewer methods, or less training, than was configured.
	Complete bool           `json:"complete"`
	Methods  []EvaluatedRow `json:"methods"`         // of MNIST, means over the tasks
	Tasks    []EvaluatedRow `json:"tasks,omitempty"` // of MNIST, every task and method
}

// EvaluatedRow is one method. Method "exact" is what exact samples reach, "real" what real images do.
type EvaluatedRow struct {
	Task    string                     `json:"task,omitempty"`
	Method  string                     `json:"method"`
	Title   string                     `json:"title"`
	Numbers map[string]finetune.Number `json:"numbers"` // under the names that they have in report.json
}

// evaluatedMetric is a column of the table.
type evaluatedMetric struct {
	name, title string
	text        func(finetune.Number) string
}

var evaluatedMetrics = map[string][]evaluatedMetric{
	"toy": {{"mode_tv", "mode TV", fixed(3)}, {"sw2", "SW2", fixed(3)}, {"energy", "energy", fixed(4)}, {"reward", "reward", fixed(2)},
		{"ess_fraction", "ESS", fixed(2)}, {"kl", "KL", fixed(3)}},
	"mnist": {{"reward", "reward", fixed(2)}, {"fid", "FID", fixed(3)}, {"accuracy", "accuracy", func(v finetune.Number) string { return fixed(1)(100*v) + " %" }},
		{"diversity", "diversity", fixed(3)}, {"ess_fraction", "ESS", fixed(3)}, {"kl", "KL", fixed(2)}},
	"superres": {{"psnr", "PSNR, dB", fixed(2)}, {"ssim", "SSIM", fixed(3)}, {"residual", "residual", fixed(2)}, {"crps", "CRPS", fixed(4)},
		{"spread_skill", "spread/skill", fixed(2)}, {"fid", "FID", fixed(3)}, {"l_sc", "L_SC", fixed(0)}},
}

// Evaluate draws new samples from what a run has learned, with the sampler of the run, and measures them as the run does.
// Nothing is written. After each set of samples, observe gets an event.
func Evaluate(ctx context.Context, ev Evaluation, observe Observer) (*Evaluated, error) {
	if ev.N < 0 || ev.N == 1 {
		return nil, fmt.Errorf("eval: %d samples: want at least 2, or 0 for as many as the run has measured", ev.N)
	}
	config, err := readConfig(ev.Folder)
	if err != nil {
		return nil, err
	}
	out := &Evaluated{Folder: ev.Folder, Seed: ev.Seed, Version: Version(), Complete: exists(filepath.Join(ev.Folder, "report.json"))}
	if files, err := filepath.Glob(checkpointFile(ev.Folder, "*")); err != nil || len(files) == 0 && !out.Complete {
		return nil, fmt.Errorf("%w %s: the run is not finished and has left no checkpoint to evaluate: doob run --resume %s", ErrFolder, ev.Folder, ev.Folder)
	}
	e, err := engine.Open(ev.Backend)
	if err != nil {
		return nil, err
	}
	out.Backend = e.Name
	switch c := config.(type) {
	case *Toy:
		err = ev.toy(ctx, e, *c, out, observe)
	case *MNIST:
		err = ev.mnist(ctx, e, *c, out, observe)
	case *SuperRes:
		err = ev.superRes(ctx, *c, out, observe)
	default:
		panic(fmt.Sprintf("experiment: %T has no metrics", config))
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

// progress tells an observer how many of all sets of samples are measured.
func (ev Evaluation) progress(observe Observer, done, total int) {
	observe(Event{Seed: ev.Seed, Stage: "evaluate", Done: done, Total: total})
}

func (ev Evaluation) toy(ctx context.Context, e *engine.Engine, t Toy, out *Evaluated, observe Observer) error {
	t.Seed = ev.Seed // of the exact samples too
	if ev.N > 0 {
		t.Samples = ev.N
	}
	p, err := newToyProblem(&t)
	if err != nil {
		return err
	}
	p.cells = p.cellProbabilities()
	r := &toyRun{toyProblem: p, seed: ev.Seed, key: noise.New(ev.Seed), engine: e}
	if r.base, err = p.loadBase(e, ev.Folder); err != nil {
		return err
	}
	out.Experiment, out.Samples = "toy", t.Samples
	names := []string{"base"}
	for _, name := range toyMethods[1:] {
		if exists(checkpointFile(ev.Folder, name)) {
			names = append(names, name)
		}
	}
	for i, name := range names {
		ev.progress(observe, i, len(names))
		o := &outcome{}
		o.engine = e.Fork()
		if name != "base" {
			if o.control, err = p.loadControl(o.engine, ev.Folder, name); err != nil {
				return err
			}
		}
		if err := r.draw(ctx, o, r.key.Sub(name)); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		result, err := r.measure(ctx, o)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		out.Methods = append(out.Methods, EvaluatedRow{Method: name, Title: toyTitles[name], Numbers: map[string]finetune.Number{
			"mode_tv": result.ModeTV, "sw2": result.SW2, "energy": result.Energy, "reward": result.Reward, "ess_fraction": result.ESSFraction, "kl": result.KL}})
	}
	ev.progress(observe, len(names), len(names))
	out.Methods = append(out.Methods, EvaluatedRow{Method: "exact", Title: "Exact law", Numbers: map[string]finetune.Number{"sw2": finetune.Number(p.floor())}})
	return nil
}

func (ev Evaluation) mnist(ctx context.Context, e *engine.Engine, m MNIST, out *Evaluated, observe Observer) error {
	if ev.N > 0 {
		m.Samples = ev.N
	}
	if ev.From != "" {
		m.From = ev.From
	}
	images, err := m.load()
	if err != nil {
		return err
	}
	r := &mnistRun{MNIST: &m, session: session{engine: e, folder: &Folder{Path: ev.Folder}}, key: noise.New(m.Seed), images: images, book: newMNISTBook(&m)}
	m.prior(e, nn.Averaged("/base")).Velocity.Init(r.key, 0, 0)
	m.classifier(e, nn.Averaged("/classifier")).Init(r.key, 1, 0)
	m.classifier(e, nn.Averaged("/judge")).Init(r.key, 1, 0)
	for _, name := range []string{"base", "classifier", "judge"} {
		if err := loadParameters(checkpointFile(ev.Folder, name), e, nn.Averaged("/"+name)); err != nil {
			return err
		}
	}
	if err := r.prepare(ctx); err != nil {
		return err
	}
	out.Experiment, out.Samples = "mnist", m.Samples
	// The checkpoints are those of the run's first seed.
	s := &mnistSeed{mnistRun: r, seed: m.Seed, key: seedKey(ev.Seed), first: true}
	names := []string{"base"}
	for _, name := range m.Methods {
		if m.learned(name) {
			names = append(names, name)
		}
	}
	for i, t := range r.tasks {
		for j, name := range names {
			ev.progress(observe, i*len(names)+j, len(r.tasks)*len(names))
			if name != "base" && !exists(checkpointFile(ev.Folder, fileName(name, t.name))) {
				continue
			}
			numbers, err := s.evaluate(ctx, t, name)
			if err != nil {
				return fmt.Errorf("%s of %s: %w", name, t.name, err)
			}
			out.Tasks = append(out.Tasks, EvaluatedRow{Task: t.name, Method: name, Title: m.title(name), Numbers: numbers})
		}
		out.Tasks = append(out.Tasks, EvaluatedRow{Task: t.name, Method: "real", Title: "Real images", Numbers: r.book.floor[t.name].byName()})
	}
	ev.progress(observe, len(r.tasks)*len(names), len(r.tasks)*len(names))
	for _, name := range append(names, "real") {
		if row, ok := meanRow(out.Tasks, name, len(r.tasks)); ok {
			out.Methods = append(out.Methods, row)
		}
	}
	return nil
}

// evaluate measures new samples of a method.
func (s *mnistSeed) evaluate(ctx context.Context, t *mnistTask, name string) (map[string]finetune.Number, error) {
	e := s.engine.Fork()
	var h diffusion.Control
	var err error
	if name != "base" {
		if h, err = s.load(e, t, name); err != nil {
			return nil, err
		}
	}
	o := &mnistOutcome{}
	if err := s.draw(ctx, o, e, t, h); err != nil {
		return nil, err
	}
	metrics, err := s.metrics(ctx, t, o.samples)
	if err != nil {
		return nil, err
	}
	numbers := metrics.byName()
	numbers["ess_fraction"], numbers["kl"] = o.diagnostics.ESS, o.diagnostics.KL
	return numbers, nil
}

func (m MNISTMetrics) byName() map[string]finetune.Number {
	return map[string]finetune.Number{"reward": m.Reward, "fid": m.FID, "accuracy": m.Accuracy, "diversity": m.Diversity}
}

// meanRow averages a method over the tasks. There is no such row where a task is missing: it would not compare with others.
func meanRow(rows []EvaluatedRow, method string, tasks int) (mean EvaluatedRow, ok bool) {
	mean.Numbers = map[string]finetune.Number{}
	n := 0
	for _, r := range rows {
		if r.Method != method {
			continue
		}
		mean.Method, mean.Title = method, r.Title
		for name, v := range r.Numbers {
			mean.Numbers[name] += v / finetune.Number(tasks)
		}
		n++
	}
	return mean, n == tasks
}

// Table is the evaluation for people: one row per method or, of MNIST and if asked for, per task and method.
func (out *Evaluated) Table(byTask bool) report.Table {
	t := report.Table{Columns: []report.Column{{Name: "method"}}}
	rows := out.Methods
	if byTask = byTask && len(out.Tasks) > 0; byTask {
		t.Columns, rows = []report.Column{{Name: "task"}, {Name: "method"}}, out.Tasks
	}
	metrics := evaluatedMetrics[out.Experiment]
	for _, m := range metrics {
		t.Columns = append(t.Columns, report.Column{Name: m.title, Right: true})
	}
	for i, r := range rows {
		row := []string{r.Title}
		if byTask {
			row = []string{r.Task, r.Title}
			if i > 0 && rows[i-1].Task == r.Task {
				row[0] = ""
			}
		}
		for _, m := range metrics {
			text := "—"
			if v, ok := r.Numbers[m.name]; ok && finite(float64(v)) {
				text = m.text(v)
			}
			row = append(row, text)
		}
		t.Rows = append(t.Rows, row)
	}
	note := fmt.Sprintf("%d new samples of each method, seed %d", out.Samples, out.Seed)
	if len(out.Tasks) > 0 {
		note = fmt.Sprintf("%d new samples of each method and task, seed %d", out.Samples, out.Seed)
		if !byTask {
			note += "; means over the tasks"
		}
	}
	t.Notes = []string{note + ". Checkpoints are those of the run's first seed."}
	if !out.Complete {
		t.Notes = append(t.Notes, fmt.Sprintf("The run is not finished: doob run --resume %s", out.Folder))
		if partial := out.partial(); len(partial) > 0 && !byTask {
			t.Notes = append(t.Notes, fmt.Sprintf("Not on every task yet, see --tasks: %s.", strings.Join(partial, ", ")))
		}
	}
	return t
}

// partial names the methods that have a task, but not all of them.
func (out *Evaluated) partial() (names []string) {
	for _, r := range out.Tasks {
		whole := slices.ContainsFunc(out.Methods, func(m EvaluatedRow) bool { return m.Method == r.Method })
		if !whole && !slices.Contains(names, r.Method) {
			names = append(names, r.Method)
		}
	}
	return names
}

// checkpointFile returns the file of what a run has learned.
func checkpointFile(folder, name string) string {
	return filepath.Join(folder, "checkpoint", name+".safetensors")
}
