package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/doob-diffusion/doob/experiment"
)

// runCommand runs an experiment, or goes on with one.
type runCommand struct {
	Name    string   `arg:"" optional:"" help:"Experiment: ${experiments}."`
	Preset  string   `placeholder:"NAME" help:"Budgets, one of those above. Default: the first."`
	Config  string   `placeholder:"FILE" type:"existingfile" help:"YAML file over the preset."`
	Set     []string `placeholder:"KEY=VALUE" sep:"none" help:"Set one configuration key, such as importance.iterations=20. Repeatable."`
	From    string   `placeholder:"DIR" help:"Folder with the files of the data set."`
	Out     string   `placeholder:"DIR" help:"Run folder, new or empty. Default: runs/ and the time."`
	Seed    *uint64  `placeholder:"N" help:"Seed of everything random. Default 1."`
	Seeds   *int     `placeholder:"N" help:"Repetitions with consecutive seeds; the table then has standard errors."`
	Backend string   `placeholder:"NAME" help:"Tensor backend: ${backends}. Default: ${backend}, or that of the run that is resumed."`
	DryRun  bool     `help:"Print the plan (sizes, network calls, memory, disk, time) and stop."`
	Resume  string   `placeholder:"DIR" help:"Go on with the run in this folder, to the same bytes as if it had never stopped. With settings, extend it: more iterations, seeds, tasks, methods."`
	JSON    bool     `name:"json" help:"Events and the report as JSON lines on standard output."`
	workerFlags
}

// Help lists the experiments and their presets.
func (c *runCommand) Help() string {
	var b strings.Builder
	for _, e := range experiment.Entries() {
		fmt.Fprintf(&b, "%s: %s Presets: %s.\n\n", e.Name, e.About, strings.Join(e.PresetNames(), ", "))
	}
	return b.String()
}

// settings are the key=value settings with those that have flags of their own.
func (c *runCommand) settings() []string {
	sets := append([]string(nil), c.Set...)
	if c.From != "" {
		sets = append(sets, fmt.Sprintf("from=%q", c.From))
	}
	if c.Seed != nil {
		sets = append(sets, fmt.Sprintf("seed=%d", *c.Seed))
	}
	if c.Seeds != nil {
		sets = append(sets, fmt.Sprintf("seeds=%d", *c.Seeds))
	}
	return sets
}

// Run runs the command.
func (c *runCommand) Run(ctx context.Context, t *terminal) error {
	if c.Resume != "" {
		return c.resume(ctx, t)
	}
	if c.Name == "" {
		return fmt.Errorf("run: want an experiment, %s, or --resume DIR", experimentList())
	}
	p, err := experiment.New(c.Name, c.Preset, c.Config, c.settings())
	if err != nil {
		return err
	}
	backend := c.Backend
	if backend == "" {
		backend = defaultBackend
	}
	if c.DryRun {
		plan, err := experiment.NewPlan(ctx, p, backend)
		if err != nil {
			return err
		}
		if c.JSON {
			return json.NewEncoder(t.out).Encode(plan)
		}
		fmt.Fprintf(t.out, "%s\n\n", plan.Title)
		return t.table(plan.Table())
	}
	folder := c.Out
	if folder == "" {
		folder = filepath.Join("runs", c.Name+"-"+time.Now().Format("20060102-150405"))
	}
	for _, caution := range experiment.Cautions(p) {
		fmt.Fprintf(t.err, "doob: warning: %s\n", caution)
	}
	options, stop, err := c.options(t)
	if err != nil {
		return err
	}
	defer stop()
	observe, done := c.observer(t)
	rep, err := experiment.Run(ctx, p, folder, backend, observe, options...)
	done()
	return c.finish(t, folder, rep, err)
}

func (c *runCommand) resume(ctx context.Context, t *terminal) error {
	for _, other := range []struct {
		what  string
		given bool
	}{{"an experiment's name", c.Name != ""}, {"--preset", c.Preset != ""}, {"--config", c.Config != ""}, {"--out", c.Out != ""}, {"--dry-run", c.DryRun}} {
		if other.given {
			return fmt.Errorf("run: %s does not go with --resume: the folder says what the run is; --set changes what may change", other.what)
		}
	}
	sets := c.settings()
	if c.Backend != "" {
		sets = append(sets, fmt.Sprintf("backend=%q", c.Backend))
	}
	options, stop, err := c.options(t)
	if err != nil {
		return err
	}
	defer stop()
	observe, done := c.observer(t)
	rep, err := experiment.Resume(ctx, c.Resume, sets, observe, options...)
	done()
	return c.finish(t, c.Resume, rep, err)
}

// observer shows events on the terminal, or as JSON lines.
func (c *runCommand) observer(t *terminal) (observe func(experiment.Event), done func()) {
	if c.JSON {
		encoder := json.NewEncoder(t.out)
		return func(ev experiment.Event) { encoder.Encode(ev) }, func() {}
	}
	d := newDisplay(t.err)
	return d.show, d.close
}

// finish prints the result of a run, or returns what went wrong with it.
func (c *runCommand) finish(t *terminal, folder string, rep *experiment.Report, err error) error {
	if errors.Is(err, context.Canceled) {
		return interruption{err, "doob run --resume " + folder + " finishes it"}
	}
	if err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(t.out).Encode(rep)
	}
	fmt.Fprintln(t.out)
	if err := t.table(rep.Table()); err != nil {
		return err
	}
	_, err = fmt.Fprintf(t.out, "\nFigures and tables: %s\n", filepath.Join(folder, "report.html"))
	return err
}

func experimentNames() []string {
	var names []string
	for _, e := range experiment.Entries() {
		names = append(names, e.Name)
	}
	return names
}

// experimentList is "a, b or c".
func experimentList() string {
	names := experimentNames()
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}
