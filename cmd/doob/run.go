package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/doob-diffusion/doob/experiment"
)

type runCommand struct {
	Toy      toyCommand      `cmd:"" help:"Tilt a Gaussian mixture, where the answer is exact: Figure 1 and eleven methods."`
	MNIST    mnistCommand    `cmd:"" name:"mnist" help:"Fine-tune a prior over handwritten digits to single digits, even and odd: Table 1."`
	SuperRes superResCommand `cmd:"" name:"superres" help:"Sample the posteriors of inverse problems on photographs of flowers: Figure 2."`

	Resume resumeCommand `cmd:"" default:"withargs" hidden:""`
}

// runFlags are the flags that all experiments share.
type runFlags struct {
	Config  string   `placeholder:"FILE" type:"existingfile" help:"YAML file over the preset."`
	Set     []string `placeholder:"KEY=VALUE" sep:"none" help:"Set one configuration key, such as importance.iterations=20. Repeatable."`
	Out     string   `placeholder:"DIR" help:"Run folder, new or empty. Default: runs/ and the time."`
	Seed    *uint64  `help:"Seed of everything random. Default 1."`
	Backend string   `default:"${backend}" help:"Tensor backend: ${backends}."`
	DryRun  bool     `help:"Print the plan (sizes, network calls, memory, disk, time) and stop."`
	JSON    bool     `name:"json" help:"Events and the report as JSON lines on standard output."`
}

// settings returns the key=value settings with those that have flags of their own.
func (f runFlags) settings(extra ...string) []string {
	if f.Seed != nil {
		extra = append(extra, fmt.Sprintf("seed=%d", *f.Seed))
	}
	return append(append([]string(nil), f.Set...), extra...)
}

func (f runFlags) folder(name string) string {
	if f.Out != "" {
		return f.Out
	}
	return filepath.Join("runs", name+"-"+time.Now().Format("20060102-150405"))
}

// observer shows events on the terminal, or as JSON lines.
func (f runFlags) observer(t *terminal, seeds int) (observe experiment.Observer, done func()) {
	if f.JSON {
		encoder := json.NewEncoder(t.out)
		return func(ev experiment.Event) { encoder.Encode(ev) }, func() {}
	}
	d := newDisplay(t.err, seeds)
	return d.show, d.close
}

// plan prints what a run will cost.
func (f runFlags) plan(t *terminal, p *experiment.Plan) error {
	if f.JSON {
		return json.NewEncoder(t.out).Encode(p)
	}
	return p.WriteText(t.out)
}

// finish prints the result of a run, or returns what went wrong with it.
func (f runFlags) finish(t *terminal, folder string, rep experiment.Report, err error) error {
	if errors.Is(err, context.Canceled) {
		return interruption{err, "doob run --resume " + folder + " finishes it"}
	}
	if err != nil {
		return err
	}
	if f.JSON {
		return json.NewEncoder(t.out).Encode(rep)
	}
	fmt.Fprintln(t.out)
	if err := rep.Table().WriteText(t.out); err != nil {
		return err
	}
	_, err = fmt.Fprintf(t.out, "\nFigures and tables: %s\n", filepath.Join(folder, "report.html"))
	return err
}

// recipe is a configured experiment.
type recipe[R experiment.Report] interface {
	Plan(ctx context.Context, backend string) (*experiment.Plan, error)
	Run(ctx context.Context, folder, backend string, observe experiment.Observer) (R, error)
}

// execute runs an experiment as its flags say, or tells what it will cost.
func execute[R experiment.Report](ctx context.Context, t *terminal, f runFlags, name string, seeds int, r recipe[R]) error {
	if f.DryRun {
		plan, err := r.Plan(ctx, f.Backend)
		if err != nil {
			return err
		}
		return f.plan(t, plan)
	}
	folder := f.folder(name)
	observe, done := f.observer(t, seeds)
	rep, err := r.Run(ctx, folder, f.Backend, observe)
	done()
	return f.finish(t, folder, rep, err)
}

type toyCommand struct {
	Preset string `default:"quick" help:"Budgets: quick or paper."`
	Seeds  *int   `help:"Repetitions with consecutive seeds; the table then has standard errors."`
	runFlags
}

func (c *toyCommand) Run(ctx context.Context, t *terminal) error {
	var extra []string
	if c.Seeds != nil {
		extra = append(extra, fmt.Sprintf("seeds=%d", *c.Seeds))
	}
	config, err := experiment.LoadToy(c.Preset, c.Config, c.settings(extra...))
	if err != nil {
		return err
	}
	return execute(ctx, t, c.runFlags, "toy", config.Seeds, config)
}
