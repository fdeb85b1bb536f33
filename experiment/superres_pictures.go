package experiment

import (
	"context"
	"fmt"
	"math"
	"os"
	"slices"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/report"
	"github.com/doob-diffusion/doob/steer"
)

// pictures writes the figures and report.html. All samples in them are drawn anew from the checkpoints, so that they do
// not depend on whether the run was resumed.
func (r *superResRun) pictures(ctx context.Context, rep *SuperResReport) error {
	s := &superResSeed{superResRun: r, seed: r.Seed, key: seedKey(r.Seed), first: true}
	table := rep.Table()
	sections := []report.Section{{Heading: "Methods", Table: &table}}
	add := func(heading, caption, name string, write func(path string) error) error {
		path := r.folder.File("figures", name)
		if err := write(path); err != nil {
			return err
		}
		sections = append(sections, report.Section{Heading: heading, Images: []report.Image{{Path: path, Caption: caption}}})
		return nil
	}
	image, n := r.image(), min(8, r.Measurements)
	grid := func(rows []report.GridRow) func(path string) error {
		return func(path string) error { return report.SampleGrid(path, rows, image[0], image[1], image[2]) }
	}
	seen, err := r.backproject(ctx, r.measured[:n*engine.Size(r.reward.Shape)])
	if err != nil {
		return err
	}
	truth := []report.GridRow{{Label: "truth", Images: r.truth[:n*r.pixels()]}, {Label: "measurement", Images: seen}}
	if r.wants("importance") {
		o, err := s.again(ctx, "importance", n)
		if err != nil {
			return err
		}
		rows := truth
		for j := range min(4, o.members) {
			rows = append(rows, report.GridRow{Label: fmt.Sprintf("sample %d", j+1), Images: member(o, j, r.pixels())})
		}
		sd, top := shaded(spread(o, r.pixels()))
		rows = append(rows, report.GridRow{Label: "posterior mean", Images: means(o.samples, o.members, r.pixels())},
			report.GridRow{Label: fmt.Sprintf("sd, white is %.2g", top), Images: sd})
		if err := add("Posterior", fmt.Sprintf("Samples of importance fine-tuning for %d measurements of test images, mean and pixel-wise standard deviation of %d samples.",
			n, o.members), "posterior.png", grid(rows)); err != nil {
			return err
		}
	}
	rows := truth
	for _, name := range superResMethods {
		if name == "smc" || name == "importance_single" || !r.wants(name) { // which would have to be sampled one by one
			continue
		}
		o, err := s.again(ctx, name, n)
		if err != nil {
			return err
		}
		rows = append(rows, report.GridRow{Label: r.title(name), Images: means(o.samples, o.members, r.pixels())})
	}
	if err := add("Posterior means", "What every method makes of the same measurements: the mean of its samples.", "methods.png", grid(rows)); err != nil {
		return err
	}
	if charts := r.book.charts(); len(charts) > 0 {
		if err := add("Training", fmt.Sprintf("Figure 2: L_SC, KL, log Ẑ and reward on held-out measurements, with the same noise after every iteration; mean over %d seed(s), band ± one standard error.", r.Seeds),
			"training.png", func(path string) error { return report.Charts(path, 3, charts) }); err != nil {
			return err
		}
	}
	config, err := os.ReadFile(r.folder.File("config.yaml"))
	if err != nil {
		return err
	}
	return report.HTML(r.folder.File("report.html"), report.Document{
		Title:    "Posterior sampling for inverse problems",
		Subtitle: fmt.Sprintf("doob run superres · %s · %s · %d seed(s) · %s", r.Data, r.Operator, rep.Seeds, duration(rep.Seconds)),
		Sections: append(sections, report.Section{Heading: "Configuration", Pre: string(config)})})
}

// again samples a method that has ended for the first n measurements.
func (s *superResSeed) again(ctx context.Context, name string, n int) (*restored, error) {
	o := &restored{count: n, members: s.Samples}
	e := s.engine.Fork()
	given, steps := s.these(0, s.Samples), 0
	switch name {
	case "bicubic":
		err := s.upsample(ctx, o)
		if err == nil {
			o.samples = o.samples[:n*s.pixels()]
		}
		return o, err
	case "dps":
		return o, s.draw(ctx, o, e, steer.DPS{Reward: s.reward, Scale: float64(s.book.result(s.seed, name).Scale)}, given, 0)
	case "importance_fast":
		name, steps = "importance", s.Fast
	}
	h, err := s.load(e, name)
	if err != nil {
		return nil, err
	}
	return o, s.draw(ctx, o, e, h, given, steps)
}

// member returns sample j of every measurement.
func member(o *restored, j, dim int) []float32 {
	var out []float32
	for i := range o.count {
		out = append(out, o.samples[(i*o.members+j)*dim:(i*o.members+j+1)*dim]...)
	}
	return out
}

// spread returns the pixel-wise standard deviations of the samples of every measurement.
func spread(o *restored, dim int) []float32 {
	out := means(o.samples, o.members, dim)
	for i, mean := range out {
		var square float64
		for j := range o.members {
			v := float64(o.samples[(i/dim*o.members+j)*dim+i%dim] - mean)
			square += v * v
		}
		out[i] = float32(math.Sqrt(square / float64(max(1, o.members-1))))
	}
	return out
}

// shaded returns positive values as shades from black for 0 to white for the top, their 99th percentile.
func shaded(values []float32) (shades []float32, top float64) {
	top = quantile(values, 0.99)
	for _, v := range values {
		shades = append(shades, float32(2*math.Min(1, float64(v)/max(top, 1e-9))-1))
	}
	return shades, top
}

// charts are the courses of the fine-tuning methods: first Figure 2, on held-out measurements, then what the iterations' own
// paths and steps say.
func (b *superResBook) charts() []report.Chart {
	held := func(title string, value func(finetune.Diagnostics) finetune.Number) report.Chart {
		return chartOf(b, b.held, 0, title, value)
	}
	charts := []report.Chart{
		logarithmic(held("Stochastic-control loss L_SC", func(d finetune.Diagnostics) finetune.Number { return d.LSC })),
		logarithmic(held("KL(P^h ‖ tilted)", func(d finetune.Diagnostics) finetune.Number { return d.KL })),
		held("log Ẑ", func(d finetune.Diagnostics) finetune.Number { return d.LogZ }),
		held("Mean reward", func(d finetune.Diagnostics) finetune.Number { return d.Reward }),
		chartOf(b, b.history, 1, "ESS, share of a measurement's paths", func(ev finetune.Event) finetune.Number { return ev.ESS }),
		chartOf(b, b.history, 1, "Training loss", func(ev finetune.Event) finetune.Number { return finetune.Number(ev.Loss) }),
	}
	if len(charts[0].Series) == 0 {
		return nil
	}
	return charts
}

// chartOf draws the course of the methods that learn from endpoints; the first of its values is of the given iteration.
func chartOf[T any](b *superResBook, history map[stage][]T, first int, title string, value func(T) finetune.Number) report.Chart {
	c := report.Chart{Title: title, XLabel: "iteration"}
	for _, name := range []string{"importance", "importance_single"} {
		line := report.Series{Name: b.s.title(name)}
		mean, se := course(b, history, name, value)
		for k := range mean {
			line.X, line.Y = append(line.X, float64(k+first)), append(line.Y, float64(mean[k]))
			if b.s.Seeds > 1 {
				line.Err = append(line.Err, float64(se[k]))
			}
		}
		if len(line.X) > 0 {
			c.Series = append(c.Series, line)
		}
	}
	return c
}

// quantile returns the q-th of the values, q in [0, 1].
func quantile(values []float32, q float64) float64 {
	sorted := slices.Clone(values)
	slices.Sort(sorted)
	return float64(sorted[int(q*float64(len(sorted)-1))])
}
