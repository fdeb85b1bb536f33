package experiment

import (
	"context"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/report"
	"github.com/doob-diffusion/doob/steer"
)

// shown is the number of samples in a row of a figure.
const shown = 12

// pictures writes the figures and report.html. All samples in them are drawn anew from the checkpoints, with the same
// noise, so that they do not depend on whether the run was resumed.
func (r *mnistRun) pictures(ctx context.Context, rep *MNISTReport) error {
	s := &mnistSeed{mnistRun: r, seed: r.Seed, key: seedKey(r.Seed), first: true}
	table := rep.Table()
	sections := []report.Section{{Heading: "Methods", Table: &table}}
	prior, err := s.row(ctx, "prior", nil)
	if err != nil {
		return err
	}
	if r.wants("importance") {
		rows, shown := []report.GridRow{prior}, "importance"
		if r.wants("importance_amplified") {
			shown = "importance_amplified"
		}
		for _, t := range r.tasks {
			row, err := s.learnedRow(ctx, t, shown, taskTitle(t.name))
			if err != nil {
				return err
			}
			rows = append(rows, row)
		}
		path := r.folder.File("figures", "classes.png")
		if err := report.SampleGrid(path, rows, 28, 28, 1); err != nil {
			return err
		}
		sections = append(sections, report.Section{Heading: "Prior and posterior", Images: []report.Image{{Path: path,
			Caption: fmt.Sprintf("Samples of the prior, and with the same noise for every task (%s).", r.title(shown))}}})
	}
	for _, t := range r.tasks[:1] {
		rows := []report.GridRow{prior}
		for _, name := range rep.order() {
			var row report.GridRow
			var err error
			switch {
			case name == "guidance":
				row, err = s.row(ctx, r.title(name), steer.Guidance{Reward: t.reward, Scale: r.book.result(r.Seed, t.name, name).Scale})
			case r.learned(name) || name == "importance_amplified":
				row, err = s.learnedRow(ctx, t, name, r.title(name))
			default:
				continue
			}
			if err != nil {
				return err
			}
			rows = append(rows, row)
		}
		path := r.folder.File("figures", "methods.png")
		if err := report.SampleGrid(path, rows, 28, 28, 1); err != nil {
			return err
		}
		sections = append(sections, report.Section{Heading: "Methods on " + taskTitle(t.name), Images: []report.Image{{Path: path,
			Caption: "The methods that move the same noise, without selection."}}})
	}
	if charts := r.book.charts(); len(charts) > 0 {
		path := r.folder.File("figures", "training.png")
		if err := report.Charts(path, 3, charts); err != nil {
			return err
		}
		sections = append(sections, report.Section{Heading: "Training", Images: []report.Image{{Path: path,
			Caption: fmt.Sprintf("Every fine-tuning method, per iteration, on the paths of that iteration; mean over the tasks, seed %d.", r.Seed)}}})
	}
	config, err := os.ReadFile(r.folder.File("config.yaml"))
	if err != nil {
		return err
	}
	seeds := fmt.Sprintf("seed %d", rep.Seed)
	if rep.Seeds > 1 {
		seeds = fmt.Sprintf("seeds %d to %d", rep.Seed, rep.Seed+uint64(rep.Seeds)-1)
	}
	return report.HTML(r.folder.File("report.html"), report.Document{
		Title:    "Class-conditional sampling of handwritten digits",
		Subtitle: fmt.Sprintf("doob run mnist · %s · %s · %s", dataTitle(rep.Data), seeds, duration(rep.Seconds)),
		Sections: append(sections, report.Section{Heading: "Configuration", Pre: string(config)})})
}

func dataTitle(name string) string {
	if name == "digits" {
		return "drawn digits, not MNIST"
	}
	return "MNIST"
}

// taskTitle is a task's name for people.
func taskTitle(task string) string { return strings.TrimPrefix(task, "single_") }

// row draws samples of P^h for a figure.
func (s *mnistSeed) row(ctx context.Context, label string, h diffusion.Control) (report.GridRow, error) {
	e := s.engine.Fork()
	paths, err := s.sampler(e, s.prior, h).Run(ctx, s.key.Sub("samples"), 0, shown, nil)
	return report.GridRow{Label: label, Images: paths.X}, err
}

func (s *mnistSeed) learnedRow(ctx context.Context, t *mnistTask, name, label string) (report.GridRow, error) {
	e := s.engine.Fork()
	h, err := s.load(e, t, name)
	if err != nil {
		return report.GridRow{}, err
	}
	return s.row(ctx, label, h)
}

// charts are the courses of the fine-tuning methods, averaged over the tasks.
func (b *mnistBook) charts() []report.Chart {
	chart := func(title string, value func(finetune.Event) finetune.Number) report.Chart {
		c := report.Chart{Title: title, XLabel: "iteration"}
		var names []string
		for _, name := range b.m.Methods {
			if b.m.learned(name) && name != "vargrad" { // whose iterations are single steps
				names = append(names, name)
			}
		}
		for _, name := range names {
			line := report.Series{Name: b.m.title(name)}
			for k := 0; ; k++ {
				var sum, n float64
				for _, task := range b.m.Tasks {
					if events := b.history[[2]string{task, name}]; k < len(events) {
						sum, n = sum+float64(value(events[k])), n+1
					}
				}
				if n == 0 {
					break
				}
				line.X, line.Y = append(line.X, float64(k+1)), append(line.Y, sum/n)
			}
			if len(line.X) > 0 {
				c.Series = append(c.Series, line)
			}
		}
		return c
	}
	charts := []report.Chart{
		chart("Acceptance rate", func(ev finetune.Event) finetune.Number { return finetune.Number(ev.Acceptance) }),
		chart("ESS, share of the paths", func(ev finetune.Event) finetune.Number { return ev.ESS }),
		logarithmic(chart("KL(P^h ‖ tilted)", func(ev finetune.Event) finetune.Number { return ev.KL })),
		logarithmic(chart("Stochastic-control loss", func(ev finetune.Event) finetune.Number { return ev.LSC })),
		chart("Mean reward", func(ev finetune.Event) finetune.Number { return ev.Reward }),
		chart("Training loss", func(ev finetune.Event) finetune.Number { return finetune.Number(ev.Loss) }),
	}
	return slices.DeleteFunc(charts, func(c report.Chart) bool { return len(c.Series) == 0 })
}

// logarithmic gives a chart of positive values a logarithmic axis if they span more than a decade: h⁰ = 0 is far from all that
// follows.
func logarithmic(c report.Chart) report.Chart {
	lowest, highest := math.Inf(1), 0.0
	for _, s := range c.Series {
		for _, v := range s.Y {
			lowest, highest = min(lowest, v), max(highest, v)
		}
	}
	c.LogY = lowest > 0 && highest > 10*lowest
	return c
}
