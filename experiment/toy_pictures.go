package experiment

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strings"

	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/gmm"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/report"
)

var nan = finetune.Number(math.NaN())

// toyTitles are the methods' names for people.
var toyTitles = map[string]string{"base": "Base model", "guidance": "Classifier guidance", "importance": "Importance (this method)",
	"reward_only": "Reward-only", "online": "Online backprop", "vargrad": "VarGrad", "raft": "RAFT (best of K)", "cem": "CEM (elite)",
	"smc_twisted": "SMC, twisted", "smc_fk": "SMC, Feynman–Kac", "importance_smc": "Importance + SMC"}

// toyPictures gathers what the figures of a run need: samples and iterations of the first seed.
type toyPictures struct {
	problem *toyProblem
	samples map[string][]float32
	history map[string][]finetune.Event
}

func (p *toyPictures) add(ev Event, first bool) {
	if first && ev.Iteration != nil {
		p.history[ev.Stage] = append(p.history[ev.Stage], *ev.Iteration)
	}
}

func (p *toyPictures) write(f *Folder, rep *ToyReport) error {
	table := rep.Table()
	methods := report.Section{Heading: "Methods", Table: &table}
	if p.problem.dim() <= 2 {
		path := f.File("figures", "methods.png")
		if err := p.methods(path, rep); err != nil {
			return err
		}
		methods.Images = []report.Image{{Path: path, Caption: "Prior, exact tilted law, and samples of every method over its contours. " +
			"TV is the total variation of the mode weights from the exact ones."}}
	}
	sections := []report.Section{methods}
	if len(p.history) > 0 {
		path := f.File("figures", "training.png")
		if err := report.Charts(path, 3, p.charts()); err != nil {
			return err
		}
		sections = append(sections, report.Section{Heading: "Training", Images: []report.Image{{Path: path,
			Caption: "Every fine-tuning method, per iteration, on the paths that it simulated there."}}})
	}
	config, err := os.ReadFile(f.File("config.yaml"))
	if err != nil {
		return err
	}
	seeds := fmt.Sprintf("seed %d", rep.Seed)
	if rep.Seeds > 1 {
		seeds = fmt.Sprintf("seeds %d to %d, mean ± standard error; pictures of the first", rep.Seed, rep.Seed+uint64(rep.Seeds)-1)
	}
	return report.HTML(f.File("report.html"), report.Document{
		Title:    "Tilting a Gaussian mixture",
		Subtitle: fmt.Sprintf("doob run toy · %s base score · %s · %s", rep.Base, seeds, duration(rep.Seconds)),
		Sections: append(sections, report.Section{Heading: "Configuration", Pre: string(config)})})
}

func (p *toyPictures) methods(path string, rep *ToyReport) error {
	panels := []report.Panel{
		{Title: "Prior", Note: "exact density", Density: density(p.problem.prior)},
		{Title: "Tilted law", Note: signed(fmt.Sprintf("exact, log Z = %.3f", p.problem.logZ)), Density: density(p.problem.tilted)},
	}
	for _, name := range toyMethods {
		if x, ok := p.samples[name]; ok {
			panels = append(panels, report.Panel{Title: toyTitles[name], Note: fmt.Sprintf("TV %.3f", float64(rep.Methods[name].ModeTV)), Points: x})
		}
	}
	return report.Panels(path, panels, report.PanelOptions{Dim: p.problem.dim(), View: p.view(), Columns: 4, Contour: density(p.problem.tilted)})
}

// density returns the density of a mixture in one or two dimensions.
func density(m *gmm.Mixture) func(x, y float64) float64 {
	return func(x, y float64) float64 { return math.Exp(m.LogDensity([]float64{x, y}[:m.Dim()])) }
}

// view holds the prior's means with a margin.
func (p *toyPictures) view() report.Rect {
	lo, hi := math.Inf(1), math.Inf(-1)
	for _, m := range p.problem.prior.Means() {
		for _, v := range m {
			lo, hi = math.Min(lo, v), math.Max(hi, v)
		}
	}
	for _, x := range p.problem.prior.Sample(1000, noise.New(0).Sub("view")) {
		lo, hi = math.Min(lo, float64(x)), math.Max(hi, float64(x))
	}
	margin := 0.05 * (hi - lo)
	return report.Rect{XMin: lo - margin, XMax: hi + margin, YMin: lo - margin, YMax: hi + margin}
}

func (p *toyPictures) charts() []report.Chart {
	chart := func(title string, value func(finetune.Event) finetune.Number) report.Chart {
		c := report.Chart{Title: title, XLabel: "share of the iterations"}
		for _, name := range toyMethods {
			events := p.history[name]
			if len(events) == 0 {
				continue
			}
			s := report.Series{Name: toyTitles[name]}
			for _, ev := range events {
				s.X = append(s.X, float64(ev.Iteration)/float64(ev.Iterations))
				s.Y = append(s.Y, float64(value(ev)))
			}
			c.Series = append(c.Series, s)
		}
		return c
	}
	acceptance := chart("Acceptance rate", func(ev finetune.Event) finetune.Number { return finetune.Number(ev.Acceptance) })
	acceptance.Series = slices.DeleteFunc(acceptance.Series, func(s report.Series) bool { // these learn from all paths, or from their own
		return s.Name == toyTitles["online"] || s.Name == toyTitles["vargrad"]
	})
	ess := chart("Effective sample size, share of the paths", func(ev finetune.Event) finetune.Number { return ev.ESS })
	ess.YMin, ess.YMax = 0, 1
	rewards := chart("Mean reward", func(ev finetune.Event) finetune.Number { return ev.Reward })
	lsc := chart("Stochastic-control loss L_SC", func(ev finetune.Event) finetune.Number { return ev.LSC })
	lsc.HLines = []report.HLine{{Y: -p.problem.logZ, Label: "−log Z"}}
	kl := chart("KL to the tilted path law", func(ev finetune.Event) finetune.Number { return ev.KL })
	kl.LogY = true
	logZ := chart("Estimate of log Z", func(ev finetune.Event) finetune.Number { return ev.LogZ })
	logZ.HLines = []report.HLine{{Y: p.problem.logZ, Label: "exact"}}
	logZ.YMin, logZ.YMax = p.problem.logZ-1, p.problem.logZ+1
	return []report.Chart{acceptance, ess, rewards, lsc, kl, logZ}
}

// Table is the report's table for people.
func (rep *ToyReport) Table() report.Table {
	t := report.Table{Columns: []report.Column{{Name: "method"}, {Name: "mode TV", Right: true}, {Name: "SW2", Right: true}, {Name: "energy", Right: true},
		{Name: "reward", Right: true}, {Name: "ESS", Right: true}, {Name: "log Ẑ", Right: true}, {Name: "KL", Right: true},
		{Name: "paths", Right: true}, {Name: "calls", Right: true}, {Name: "seconds", Right: true}}}
	for _, name := range toyMethods {
		r, ok := rep.Methods[name]
		if !ok {
			continue
		}
		cell := func(format, key string) string {
			v := float64(*r.numbers()[key])
			if math.IsNaN(v) || math.IsInf(v, 0) {
				return "—"
			}
			if math.Abs(v) >= 1e5 {
				format = "%.1g" // a diverged estimate needs no digits
			}
			text := signed(fmt.Sprintf(format, v))
			if se, ok := r.SE[key]; ok && !math.IsNaN(float64(se)) {
				text += " ± " + fmt.Sprintf(format, float64(se))
			}
			return text
		}
		count := func(v finetune.Number) string { return metricCount(float64(v)) }
		t.Rows = append(t.Rows, []string{toyTitles[name], cell("%.3f", "mode_tv"), cell("%.3f", "sw2"), cell("%.4f", "energy"), cell("%.2f", "reward"),
			cell("%.2f", "ess_fraction"), cell("%.3f", "log_z"), cell("%.3f", "kl"), count(r.Paths), count(r.NetworkCalls), cell("%.0f", "seconds")})
	}
	t.Notes = []string{
		signed(fmt.Sprintf("Exact log Z = %.3f. SW2 between two exact sets of the same size: %.3f (mean of ten pairs).", rep.Exact.LogZ, rep.Floor.SW2)),
		"Paths and calls (network evaluations on one sample, base and control) include training, tuning and the samples measured here.",
	}
	if g := rep.Methods["guidance"]; g != nil {
		t.Notes = append(t.Notes, fmt.Sprintf("Classifier guidance at scale %g, the best of those tried by mean reward.", g.Scale))
	}
	return t
}

// signed writes minus signs as such.
func signed(s string) string { return strings.ReplaceAll(s, "-", "−") }

// metricCount writes a count with a metric prefix.
func metricCount(v float64) string {
	switch {
	case v >= 1e9:
		return fmt.Sprintf("%.2f G", v/1e9)
	case v >= 1e6:
		return fmt.Sprintf("%.1f M", v/1e6)
	case v >= 1e4:
		return fmt.Sprintf("%.0f k", v/1e3)
	}
	return fmt.Sprintf("%.0f", v)
}
