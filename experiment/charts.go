package experiment

import (
	"fmt"
	"slices"

	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/method"
	"github.com/doob-diffusion/doob/metric"
	"github.com/doob-diffusion/doob/report"
)

// course returns a number of a method after every iteration: the mean over the tasks within each of so many seeds, and over the seeds.
func (b *book) course(name string, seeds int, value func(at stage, k int) (finetune.Number, bool)) (mean, se []finetune.Number) {
	for k := 0; ; k++ {
		var values []float64
		for i := range seeds {
			var sum, n float64
			for _, task := range b.problem.Tasks() {
				if v, ok := value(stage{b.problem.common().Seed + uint64(i), task, name}, k); ok {
					sum, n = sum+float64(v), n+1
				}
			}
			if n > 0 {
				values = append(values, sum/n)
			}
		}
		if len(values) == 0 {
			return mean, se
		}
		m, e := metric.MeanSE(values)
		mean, se = append(mean, finetune.Number(m)), append(se, finetune.Number(e))
	}
}

// on returns a value of held-out paths, and own of those that an iteration has learned from.
func (b *book) on(value func(finetune.Certificate) finetune.Number) func(at stage, k int) (finetune.Number, bool) {
	return func(at stage, k int) (finetune.Number, bool) {
		if events := b.held[at]; k < len(events) {
			return value(events[k]), true
		}
		return 0, false
	}
}

func (b *book) own(value func(finetune.Event) finetune.Number) func(at stage, k int) (finetune.Number, bool) {
	return func(at stage, k int) (finetune.Number, bool) {
		if events := b.history[at]; k < len(events) {
			return value(events[k]), true
		}
		return 0, false
	}
}

// kl is the KL of an iteration with the log Z that is known best in the end, where there is one.
func (b *book) kl(at stage, k int) (finetune.Number, bool) {
	events := b.history[at]
	if k >= len(events) {
		return 0, false
	}
	if c, ok := b.certificates[at]; ok && finite(float64(c.KL)) && len(b.held[at]) == 0 {
		return events[k].KL - events[k].LogZ + c.KL - c.LSC, true
	}
	return events[k].KL, true
}

// The stochastic-control loss (10) and what else path weights say, in the order of figures.
var courses = []struct {
	title string
	value func(finetune.Certificate) finetune.Number
}{
	{"Stochastic-control loss L_SC", func(d finetune.Certificate) finetune.Number { return d.LSC }},
	{"KL(P^h ‖ tilted)", func(d finetune.Certificate) finetune.Number { return d.KL }},
	{"log Ẑ", func(d finetune.Certificate) finetune.Number { return d.LogZ }},
	{"Mean reward", func(d finetune.Certificate) finetune.Number { return d.Reward }},
	{"ESS, share of the paths", func(d finetune.Certificate) finetune.Number { return d.ESS }},
}

// training shows the courses of all methods that learn. Where there are paths for held-out conditions, the first four numbers are theirs (Figure
// 2), means over the seeds with bands of a standard error, and only of methods that they judge; all else is of the iterations' own paths, of the
// first seed.
func (b *book) training(rep *Report) []report.Chart {
	c, judged := b.problem.common(), len(b.held) > 0
	var names []string
	var lengths []int
	for _, name := range rep.Order {
		steps, _ := b.course(name, 1, b.own(func(finetune.Event) finetune.Number { return 0 }))
		if mean, _ := b.course(name, 1, b.on(courses[0].value)); len(steps) > 0 && (!judged || len(mean) > 0) {
			names, lengths = append(names, name), append(lengths, len(steps))
		}
	}
	if len(names) == 0 {
		return nil
	}
	share := slices.Max(lengths) > 2*slices.Min(lengths) // side by side, the shorter ones could not be seen
	chart := func(title string, names []string, first, seeds int, value func(at stage, k int) (finetune.Number, bool)) report.Chart {
		out := report.Chart{Title: title, XLabel: "iteration"}
		if share {
			out.XLabel = "share of the iterations"
		}
		for _, name := range names {
			line := report.Series{Name: rep.Titles[name]}
			mean, se := b.course(name, seeds, value)
			for k := range mean {
				x := float64(k + first)
				if share {
					x /= float64(len(mean) - 1 + first)
				}
				line.X, line.Y = append(line.X, x), append(line.Y, float64(mean[k]))
				if seeds > 1 {
					line.Err = append(line.Err, float64(se[k]))
				}
			}
			out.Series = append(out.Series, line)
		}
		return out
	}
	var charts []report.Chart
	for i, d := range courses {
		value, first, seeds := b.own(func(it finetune.Event) finetune.Number { return d.value(it.Certificate) }), 1, 1
		if i == 1 {
			value = b.kl
		}
		if judged && i < 4 {
			value, first, seeds = b.on(d.value), 0, c.Seeds
		}
		charts = append(charts, chart(d.title, names, first, seeds, value))
	}
	charts[0], charts[1] = charts[0].Logarithmic(), charts[1].Logarithmic()
	if i := slices.IndexFunc(b.problem.Metrics(), func(m Metric) bool { return m.Name == "log_z" }); i >= 0 {
		at := b.problem.Metrics()[i].Reference
		if z := rep.Reference.value(at); at != "" && finite(z) {
			charts[0].LogY = false
			charts[0].HLines = []report.HLine{{Y: -z, Label: "−log Z"}}
			charts[2].HLines = []report.HLine{{Y: z, Label: "exact"}}
			charts[2].YMin, charts[2].YMax = z-1, z+1
		}
	}
	selecting := slices.DeleteFunc(slices.Clone(names), func(name string) bool { m := method.New(name); return m != nil && !method.Selects(m) })
	if len(selecting) > 0 && !judged {
		charts = append(charts, chart("Acceptance rate", selecting, 1, 1, b.own(func(it finetune.Event) finetune.Number { return finetune.Number(it.Acceptance) })))
	} else {
		charts = append(charts, chart("Training loss", names, 1, 1, b.own(func(it finetune.Event) finetune.Number { return finetune.Number(it.Loss) })))
	}
	return charts
}

// trainingSection draws them.
func (r *run) trainingSection(rep *Report) ([]report.Section, error) {
	charts := r.book.training(rep)
	if len(charts) == 0 {
		return nil, nil
	}
	path := r.folder.File("figures", "training.png")
	caption := fmt.Sprintf("Every fine-tuning method, per iteration, on the paths of that iteration (seed %d).", rep.Seed)
	if len(r.book.held) > 0 {
		caption = fmt.Sprintf("L_SC, KL, log Ẑ and reward on held-out conditions, with the same noise after every iteration; mean over %s, band ± one standard error.", counted(rep.Seeds, "seed"))
	}
	section := report.Section{Heading: "Training", Images: []report.Image{{Path: path, Caption: caption}}}
	if err := report.Charts(path, 3, charts); err != nil {
		return nil, err
	}
	if chart := r.book.steps(rep); len(chart.Series) > 0 {
		path := r.folder.File("figures", "steps.png")
		section.Images = append(section.Images, report.Image{Path: path,
			Caption: "Where control is spent, and so where log weights get their variance: the part of KL(P^h ‖ P) of every step, from noise to data. With h = 0 on the last steps (process.free) theirs is 0."})
		if err := report.Charts(path, 1, []report.Chart{chart}); err != nil {
			return nil, err
		}
	}
	return []report.Section{section}, nil
}

// steps shows of every method how much control each step of its paths takes, means over the tasks of the first seed.
func (b *book) steps(rep *Report) report.Chart {
	out := report.Chart{Title: "KL(P^h ‖ P) by step", XLabel: "step"}
	for _, name := range rep.Order {
		line := report.Series{Name: rep.Titles[name]}
		var n float64
		for _, task := range b.problem.Tasks() {
			energies := b.certificates[stage{rep.Seed, task, name}].StepEnergy
			if len(energies) == 0 || len(line.Y) > 0 && len(energies) != len(line.Y) || !slices.ContainsFunc(energies, func(e finetune.Number) bool { return e > 0 }) {
				continue
			}
			if n++; line.Y == nil {
				line.Y = make([]float64, len(energies))
			}
			for k, e := range energies {
				line.Y[k] += (float64(e) - line.Y[k]) / n
			}
		}
		for k := range line.Y {
			line.X = append(line.X, float64(k+1))
		}
		if n > 0 {
			out.Series = append(out.Series, line)
		}
	}
	return out
}

// courses adds to a report what importance fine-tuning has done on held-out conditions, from before the first iteration to after the last.
func (b *book) courses(extra map[string]any) {
	for key, i := range map[string]int{"l_sc": 0, "kl": 1, "log_z": 2} {
		mean, se := b.course("importance", b.problem.common().Seeds, b.on(courses[i].value))
		if len(mean) > 0 {
			if extra[key] = mean; i == 0 {
				extra["l_sc_se"] = se
			}
		}
	}
}
