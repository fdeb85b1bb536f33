package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
	"golang.org/x/term"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/report"
)

// Exit codes.
const (
	exitFailure     = 1
	exitUsage       = 2
	exitInterrupted = 130
)

// terminal is where a command writes: results on out, progress and complaints on err.
type terminal struct {
	out io.Writer
	err *os.File
}

const defaultBackend = engine.Default

// table writes a table as wide as the terminal is, and as wide as it is into pipes and files.
func (t *terminal) table(table report.Table) error {
	width := 0
	if f, ok := t.out.(*os.File); ok {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil {
			width = w
		}
	}
	return table.WriteWithin(t.out, width)
}

// interruption is an error of a command that was interrupted and has left something to go on with.
type interruption struct {
	error
	leaves string
}

func (i interruption) Unwrap() error { return i.error }

// steps are the headings of commands in the help, in the order in which a newcomer needs them.
var steps = []kong.Group{
	{Key: "begin", Title: "1. Is this machine ready, and are the data here?"},
	{Key: "learn", Title: "2. Train a prior on pictures, and fine-tune it toward a reward:"},
	{Key: "use", Title: "3. Use what was learned:"},
	{Key: "judge", Title: "4. How good is it?"},
	{Key: "others", Title: "Models and adapters of others:"},
}

// start is below the commands in the help: the shortest way from nothing to a result.
const start = `From nothing to a result, some minutes on two cores and no download:

  doob doctor
  doob run textimage --out roses
  doob sample roses -n 16 -o samples.png
  doob serve roses

With pictures of your own, "doob init pictures" writes the file that "doob tune"
reads, with a reward beside it. "doob run NAME --dry-run" tells beforehand what
a run will cost. A run folder has its report as report.html, report.json and
report.csv.
`

// help prints that of a command, or of all with the way to begin.
func help(options kong.HelpOptions, ctx *kong.Context) error {
	if err := kong.DefaultHelpPrinter(options, ctx); err != nil || ctx.Selected() != nil {
		return err
	}
	_, err := fmt.Fprint(ctx.Stdout, "\n"+start)
	return err
}

type cli struct {
	Doctor   doctorCommand   `cmd:"" group:"begin" help:"Check this machine and build: backend, speed, memory, disk."`
	Data     dataCommand     `cmd:"" group:"begin" help:"Fetch and check data sets."`
	Init     initCommand     `cmd:"" group:"learn" help:"Write a configuration to begin with, for pictures and rewards of your own."`
	Tune     tuneCommand     `cmd:"" group:"learn" help:"Tune a model of your own to rewards of your own, as a YAML file says."`
	Run      runCommand      `cmd:"" group:"learn" help:"Run an experiment, or go on with one."`
	Worker   workerCommand   `cmd:"" group:"learn" help:"Simulate for a run on another machine."`
	Status   statusCommand   `cmd:"" group:"learn" help:"Show the workers of a run."`
	Sample   sampleCommand   `cmd:"" group:"use" help:"Draw samples from what a run has learned."`
	Restore  restoreCommand  `cmd:"" group:"use" help:"Restore a picture of your own with what a run has learned."`
	Generate generateCommand `cmd:"" group:"use" help:"Draw pictures from a text by Stable Diffusion."`
	Eval     evalCommand     `cmd:"" group:"judge" help:"Measure new samples of what runs have learned."`
	Compare  compareCommand  `cmd:"" group:"judge" help:"Compare finished runs of one experiment: a table and a figure."`
	Serve    serveCommand    `cmd:"" group:"judge" help:"Show runs in a browser, and draw from what they have learned."`
	Score    scoreCommand    `cmd:"" group:"judge" help:"Say how good pictures are for a prompt, by ImageReward or CLIP."`
	Model    modelCommand    `cmd:"" group:"others" help:"Check models that others have trained."`
	Lora     loraCommand     `cmd:"" group:"others" help:"Convert, merge and describe low-rank adapters (LoRA)."`

	Version versionFlag `help:"Print the version and exit."`
}

// Main runs the command line and returns the exit code. The first interrupt ends the work after the current step; a
// second one kills the process.
func Main(ctx context.Context, args []string, out io.Writer, stderr *os.File) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)

	var c cli
	code := -1
	parser, err := kong.New(&c, append(decimals(), kong.Name("doob"), kong.Writers(out, stderr), kong.Exit(func(n int) { code = n }),
		kong.Description("Fine-tune a diffusion model toward a reward, by importance-weighted paths of its own."),
		kong.ExplicitGroups(steps), kong.Help(help), kong.UsageOnError(), kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Vars{"backends": strings.Join(engine.Backends(), ", "), "backend": defaultBackend, "experiments": strings.Join(experimentNames(), ", ")},
		kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(&terminal{out: out, err: stderr}))...)
	if err != nil {
		panic(err) // the command line above is malformed
	}
	command, err := parser.Parse(args)
	if code >= 0 { // --help or --version did its work
		return code
	}
	if err != nil {
		fmt.Fprintf(stderr, "doob: %v\nTry doob --help.\n", err)
		return exitUsage
	}
	switch err := command.Run(); {
	case err == nil:
		return 0
	case errors.Is(err, context.Canceled):
		complaint := "doob: interrupted"
		if left := (interruption{}); errors.As(err, &left) {
			complaint += "; " + left.leaves
		}
		fmt.Fprintln(stderr, complaint)
		return exitInterrupted
	default:
		fmt.Fprintf(stderr, "doob: %v\n", err)
		return exitFailure
	}
}
