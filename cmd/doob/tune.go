package main

import (
	"cmp"
	"context"

	"github.com/doob-diffusion/doob/experiment"
)

// tuneCommand runs what a file of the user's says: problem own, or the one that its key experiment names.
type tuneCommand struct {
	Config  string   `arg:"" name:"config.yaml" type:"existingfile" help:"What to tune, and to what: doob init writes one."`
	Preset  string   `placeholder:"NAME" help:"Budgets, over which the file stands. Default: quick, some minutes."`
	Set     []string `placeholder:"KEY=VALUE" sep:"none" help:"Set one configuration key, such as importance.iterations=20. Repeatable."`
	Out     string   `placeholder:"DIR" help:"Run folder, new or empty. Default: runs/ and the time."`
	Seed    *uint64  `placeholder:"N" help:"Seed of everything random. Default 1."`
	Seeds   *int     `placeholder:"N" help:"Repetitions with consecutive seeds; the table then has standard errors over them."`
	Backend string   `placeholder:"NAME" help:"Tensor backend: ${backends}. Default: ${backend}."`
	DryRun  bool     `help:"Print the plan (sizes, network calls, memory, disk, time) and stop."`
	JSON    bool     `name:"json" help:"Events and the report as JSON lines on standard output."`
}

// Help says what comes before and after.
func (c *tuneCommand) Help() string {
	return `doob init pictures writes a file to begin with. What is trained once is kept: the prior of the same pictures takes no time in the next run.

doob run --resume DIR goes on with what was stopped, doob sample DIR draws more samples, DIR/report.html shows the result.`
}

// Run runs the command.
func (c *tuneCommand) Run(ctx context.Context, t *terminal) error {
	kind, err := experiment.KindOf(c.Config)
	if err != nil {
		return err
	}
	run := runCommand{Name: cmp.Or(kind, "own"), Preset: c.Preset, Config: c.Config, Set: c.Set, Out: c.Out, Seed: c.Seed, Seeds: c.Seeds, Backend: c.Backend,
		DryRun: c.DryRun, JSON: c.JSON}
	return run.Run(ctx, t)
}
