package experiment

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/metric"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/steer"
)

// ToyResult is one method's line of the report: means over the seeds.
type ToyResult struct {
	ModeTV       finetune.Number `json:"mode_tv"`      // total variation of the mode weights from the exact ones
	SW2          finetune.Number `json:"sw2"`          // sliced 2-Wasserstein distance to exact samples
	Energy       finetune.Number `json:"energy"`       // energy distance to exact samples
	Reward       finetune.Number `json:"reward"`       // mean over the samples
	ESSFraction  finetune.Number `json:"ess_fraction"` // of the paths' weights; of the last ones for SMC
	LogZ         finetune.Number `json:"log_z"`
	KL           finetune.Number `json:"kl"` // KL(P^h‖P_tilted); null for SMC, whose samples have no path law
	Paths        finetune.Number `json:"paths"`
	NetworkCalls finetune.Number `json:"network_calls"`
	Seconds      finetune.Number `json:"seconds"`
	// Scale is the guidance scale that was chosen, for the first seed; absent for other methods.
	Scale float64 `json:"scale,omitempty"`
	// SE are the standard errors of the numbers above, by name; absent for a single seed.
	SE map[string]finetune.Number `json:"se,omitempty"`
}

// numbers lists the fields of a result by their names in the report.
func (r *ToyResult) numbers() map[string]*finetune.Number {
	return map[string]*finetune.Number{"mode_tv": &r.ModeTV, "sw2": &r.SW2, "energy": &r.Energy, "reward": &r.Reward,
		"ess_fraction": &r.ESSFraction, "log_z": &r.LogZ, "kl": &r.KL, "paths": &r.Paths, "network_calls": &r.NetworkCalls,
		"seconds": &r.Seconds}
}

// ToyReport is report.json.
type ToyReport struct {
	Experiment string `json:"experiment"`
	Seed       uint64 `json:"seed"`
	Seeds      int    `json:"seeds"`
	Base       string `json:"base"`
	Backend    string `json:"backend"`
	Version    string `json:"version"`
	Floor      struct {
		SW2 float64 `json:"sw2"`
	} `json:"floor"`
	Exact struct {
		LogZ float64 `json:"log_z"`
	} `json:"exact"`
	Methods map[string]*ToyResult `json:"methods"`
	Seconds float64               `json:"seconds"` // the whole run
}

// Run runs the experiment in a folder, which must be new or empty. When the context ends it stops after the current
// step, saves what is learned so far, and returns the context's error; report.json exists only if the run is complete.
func (t *Toy) Run(ctx context.Context, folder, backend string, observe Observer) (*ToyReport, error) {
	if _, err := newToyProblem(t); err != nil { // before anything is written
		return nil, err
	}
	if _, err := engine.Open(backend); err != nil {
		return nil, err
	}
	f, err := CreateFolder(folder, t)
	if err != nil {
		return nil, err
	}
	return t.run(ctx, f, backend, observe)
}

func (t *Toy) run(ctx context.Context, f *Folder, backend string, observe Observer) (rep *ToyReport, err error) {
	defer func() { err = errors.Join(err, f.Close()) }()
	problem, err := newToyProblem(t)
	if err != nil {
		return nil, err
	}
	e, err := engine.Open(backend)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	problem.cells = problem.cellProbabilities()

	rep = &ToyReport{Experiment: "toy", Seed: t.Seed, Seeds: t.Seeds, Base: t.Base, Backend: e.Name, Version: Version(), Methods: map[string]*ToyResult{}}
	rep.Floor.SW2, rep.Exact.LogZ = problem.floor(), problem.logZ
	results := map[string][]*ToyResult{}
	pictures := &toyPictures{problem: problem, samples: map[string][]float32{}, history: map[string][]finetune.Event{}}
	for i := range t.Seeds {
		run := &toyRun{toyProblem: problem, seed: t.Seed + uint64(i), folder: f, first: i == 0, observe: func(ev Event) {
			f.Event(ev)
			pictures.add(ev, i == 0)
			observe(ev)
		}}
		if err := run.all(ctx, backend, func(name string, o *outcome, r *ToyResult) {
			results[name] = append(results[name], r)
			if i == 0 {
				pictures.samples[name] = o.samples
			}
		}); err != nil {
			return nil, err
		}
	}
	for name, r := range results {
		rep.Methods[name] = mean(r)
	}
	rep.Seconds = time.Since(start).Seconds()
	if err := pictures.write(f, rep); err != nil {
		return nil, err
	}
	if err := f.Err(); err != nil {
		return nil, err
	}
	return rep, f.WriteJSON("report.json", rep)
}

// all runs every method of one seed, each on a fork of one engine with the base model, and hands on each result.
func (r *toyRun) all(ctx context.Context, backend string, done func(string, *outcome, *ToyResult)) error {
	var err error
	if r.engine, err = engine.Open(backend); err != nil {
		return err
	}
	r.key = noise.New(r.seed)
	if err := r.pretrain(ctx); err != nil {
		return err
	}
	for _, name := range toyMethods {
		if !r.wants(name) {
			continue
		}
		total := max(1, r.loop(name).Iterations)
		r.observe(Event{Seed: r.seed, Stage: name, Total: total})
		o, err := r.method(ctx, name)
		// An interrupted method has learned something too.
		if o != nil && (err == nil || ctx.Err() != nil) {
			err = errors.Join(err, r.save(o.engine, name, "/h/"+name, err == nil))
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		result, err := r.measure(ctx, o)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		done(name, o, result)
		r.observe(Event{Seed: r.seed, Stage: name, Done: total, Total: total, Result: result})
		if err := r.folder.Err(); err != nil {
			return err
		}
	}
	return nil
}

// save keeps the averaged parameters below path, if there are any, in the folder's checkpoints: of the first seed only.
func (r *toyRun) save(e *engine.Engine, name, path string, complete bool) error {
	if !r.first || e.Scope(path).NumVariables() == 0 {
		return nil
	}
	return saveParameters(r.folder.File("checkpoint", name+".safetensors"), e, map[string]string{"experiment": "toy",
		"seed": fmt.Sprint(r.seed), "version": Version(), "complete": fmt.Sprint(complete)}, nn.Averaged(path))
}

func (t *Toy) wants(name string) bool { return slices.Contains(t.Methods, name) }

// pretrain fits the base model to samples of the prior, unless its score is exact.
func (r *toyRun) pretrain(ctx context.Context) error {
	r.base = r.baseModel(r.engine, "/base", r.key.Sub("base"))
	learned, ok := r.base.(diffusion.Network)
	if !ok {
		return nil
	}
	key := r.key.Sub("pretrain")
	data := func(rows []float32, step int) { copy(rows, r.prior.Sample(r.Pretrain.Batch, key.Sub("data").At(step))) }
	r.observe(Event{Seed: r.seed, Stage: "pretrain", Total: r.Pretrain.Steps})
	trainer, err := r.Pretrain.Trainer(r.engine, r.Process.Schedule, learned)
	if err != nil {
		return fmt.Errorf("pretrain: %w", err)
	}
	inputs := r.Pretrain.Inputs(key, r.Process.Schedule, []int{r.dim()}, data)
	err = trainer.Run(ctx, r.Pretrain.Steps, inputs, func(step int, loss float64) error {
		if step%50 == 0 || step == r.Pretrain.Steps {
			value := finetune.Number(loss)
			r.observe(Event{Seed: r.seed, Stage: "pretrain", Done: step, Total: r.Pretrain.Steps, Loss: &value})
		}
		return nil
	})
	if err == nil || ctx.Err() != nil {
		err = errors.Join(err, r.save(r.engine, "base", "/base", err == nil))
	}
	if err != nil {
		return fmt.Errorf("pretrain: %w", err)
	}
	learned.Velocity = learned.Velocity.Within(nn.Averages(r.engine))
	r.base = learned
	return nil
}

// measure compares a method's samples with the exact law.
func (r *toyRun) measure(ctx context.Context, o *outcome) (*ToyResult, error) {
	rewards, err := r.reward.Rewards(ctx, o.samples, r.Samples)
	if err != nil {
		return nil, err
	}
	reward, _ := metric.MeanSE(rewards)
	exact := r.exactSamples(0)
	result := &ToyResult{
		ModeTV: finetune.Number(metric.TotalVariation(metric.ModeWeights(o.samples, r.dim(), r.prior.Means()), r.cells)),
		SW2:    finetune.Number(metric.SlicedW2(o.samples, exact, r.dim(), r.Directions, noise.New(0).Sub("directions"))),
		Energy: finetune.Number(metric.EnergyDistance(o.samples, exact, r.dim())),
		Reward: finetune.Number(reward), ESSFraction: finetune.Number(o.ess), LogZ: finetune.Number(o.logZ), KL: nan,
		Paths: finetune.Number(o.engine.Paths()), NetworkCalls: finetune.Number(o.engine.NetworkCalls()), Seconds: finetune.Number(o.seconds),
	}
	if guided, ok := o.control.(steer.Guidance); ok {
		result.Scale = guided.Scale
	}
	if o.diagnostics != nil {
		result.KL = o.diagnostics.KL
	}
	return result, nil
}

// mean averages the results of several seeds.
func mean(results []*ToyResult) *ToyResult {
	out := &ToyResult{Scale: results[0].Scale}
	if len(results) > 1 {
		out.SE = map[string]finetune.Number{}
	}
	for name, target := range out.numbers() {
		values := make([]float64, len(results))
		for i, r := range results {
			values[i] = float64(*r.numbers()[name])
		}
		m, se := metric.MeanSE(values)
		*target = finetune.Number(m)
		if out.SE != nil {
			out.SE[name] = finetune.Number(se)
		}
	}
	return out
}

// Version is the module's version and commit, as far as the build knows them.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	version := info.Main.Version
	if version == "" {
		version = "(devel)"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			version += " " + s.Value[:min(12, len(s.Value))]
		}
	}
	return version
}
