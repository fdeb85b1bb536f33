package experiment

import (
	"fmt"
	"slices"
	"strings"

	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/metric"
	"github.com/doob-diffusion/doob/report"
)

// SuperResReport is report.json.
type SuperResReport struct {
	Experiment   string  `json:"experiment"`
	Data         string  `json:"data"`
	Operator     string  `json:"operator"`
	Sigma        float64 `json:"sigma"`
	Seed         uint64  `json:"seed"`
	Seeds        int     `json:"seeds"`
	Measurements int     `json:"measurements"`
	Samples      int     `json:"samples"` // of each measurement
	Backend      string  `json:"backend"`
	Version      string  `json:"version"`
	// Course of importance fine-tuning, from before the first iteration to after the last, on held-out measurements: means over the
	// seeds, with the standard error of L_SC. Figure 2.
	LSC    []finetune.Number          `json:"l_sc"`
	KL     []finetune.Number          `json:"kl"`
	LogZ   []finetune.Number          `json:"log_z"`
	LSCSE  []finetune.Number          `json:"l_sc_se,omitempty"`
	Method map[string]*SuperResResult `json:"methods"`
	// Floor is what the truth itself reaches, and of Gaussian data what exact samples do.
	Floor   *SuperResResult `json:"floor"`
	Seconds float64         `json:"seconds"` // of the last process, if the run was resumed

	titles map[string]string
}

// superResBook gathers what a run's events say, and so also what those of a run said that is resumed.
type superResBook struct {
	s       *SuperRes
	results map[stage]*SuperResResult
	history map[stage][]finetune.Event
	held    map[stage][]finetune.Diagnostics
}

func newSuperResBook(s *SuperRes) *superResBook {
	return &superResBook{s: s, results: map[stage]*SuperResResult{}, history: map[stage][]finetune.Event{}, held: map[stage][]finetune.Diagnostics{}}
}

func (b *superResBook) add(ev Event) {
	at := stage{ev.Seed, "", ev.Stage}
	if ev.Iteration != nil {
		b.history[at] = append(b.history[at], *ev.Iteration)
	}
	if ev.Held != nil {
		b.held[at] = append(b.held[at], *ev.Held)
	}
	if r, ok := ev.Result.(*SuperResResult); ok {
		b.results[at] = r
	}
}

// result returns that of a method which has ended.
func (b *superResBook) result(seed uint64, method string) *SuperResResult {
	return b.results[stage{seed, "", method}]
}

func (b *superResBook) report(r *superResRun, floor *SuperResResult) *SuperResReport {
	s := b.s
	rep := &SuperResReport{Experiment: "superres", Data: s.Data, Operator: s.Operator, Sigma: s.Sigma, Seed: s.Seed, Seeds: s.Seeds,
		Measurements: s.Measurements, Samples: s.Samples, Backend: r.engine.Name, Version: Version(), Method: map[string]*SuperResResult{},
		Floor: floor, titles: map[string]string{}}
	for _, name := range superResMethods {
		if !s.wants(name) {
			continue
		}
		rep.Method[name], rep.titles[name] = b.mean(name), s.title(name)
	}
	rep.LSC, rep.LSCSE = course(b, b.held, "importance", func(d finetune.Diagnostics) finetune.Number { return d.LSC })
	rep.KL, _ = course(b, b.held, "importance", func(d finetune.Diagnostics) finetune.Number { return d.KL })
	rep.LogZ, _ = course(b, b.held, "importance", func(d finetune.Diagnostics) finetune.Number { return d.LogZ })
	return rep
}

// mean averages a method's results over the seeds.
func (b *superResBook) mean(method string) *SuperResResult {
	out := &SuperResResult{}
	if b.s.Seeds > 1 {
		out.SE = map[string]finetune.Number{}
	}
	for name, target := range out.numbers() {
		var values []float64
		for i := range b.s.Seeds {
			values = append(values, float64(*b.result(b.s.Seed+uint64(i), method).numbers()[name]))
		}
		m, se := metric.MeanSE(values)
		*target = finetune.Number(m)
		if out.SE != nil && finite(m) {
			out.SE[name] = finetune.Number(se)
		}
	}
	return out
}

// course returns a number of a method over its iterations, mean and standard error over the seeds.
func course[T any](b *superResBook, history map[stage][]T, method string, value func(T) finetune.Number) (mean, se []finetune.Number) {
	for k := 0; ; k++ {
		var values []float64
		for i := range b.s.Seeds {
			if events := history[stage{b.s.Seed + uint64(i), "", method}]; k < len(events) {
				values = append(values, float64(value(events[k])))
			}
		}
		if len(values) == 0 {
			return mean, se
		}
		m, e := metric.MeanSE(values)
		mean, se = append(mean, finetune.Number(m)), append(se, finetune.Number(e))
	}
}

// superResColumn is a column of the table.
type superResColumn struct {
	name, title string
	text        func(finetune.Number) string
}

var superResColumns = []superResColumn{
	{"psnr", "PSNR", fixed(2)}, {"psnr_single", "of one", fixed(2)}, {"ssim", "SSIM", fixed(3)}, {"residual", "residual", fixed(2)}, {"crps", "CRPS", fixed(4)},
	{"spread_skill", "spread", fixed(2)}, {"fid", "FID", fixed(3)},
	{"mean_error", "mean error", fixed(3)}, {"variance", "variance", fixed(3)}, {"covariance", "covariance", fixed(3)},
	{"l_sc", "L_SC", fixed(0)}, {"network_calls", "calls", counted}, {"seconds", "seconds", fixed(2)}, {"training_calls", "to learn", counted},
}

func counted(v finetune.Number) string {
	if v == 0 {
		return "—"
	}
	return metricCount(float64(v))
}

// Table is the result for people.
func (rep *SuperResReport) Table() report.Table {
	_, single := rep.Method["importance_single"]
	columns := slices.DeleteFunc(slices.Clone(superResColumns), func(c superResColumn) bool {
		if c.name == "psnr_single" && !single {
			return true
		}
		for _, m := range rep.Method {
			if finite(float64(*m.numbers()[c.name])) {
				return false
			}
		}
		return true
	})
	t := report.Table{Columns: []report.Column{{Name: "method"}}}
	for _, c := range columns {
		t.Columns = append(t.Columns, report.Column{Name: c.title, Right: true})
	}
	row := func(title string, r *SuperResResult) {
		cells := []string{title}
		for _, c := range columns {
			v := *r.numbers()[c.name]
			text := "—"
			if finite(float64(v)) {
				text = c.text(v)
				if se, ok := r.SE[c.name]; ok && finite(float64(se)) && !strings.Contains(c.name, "calls") && !strings.Contains(c.name, "seconds") {
					text += " ± " + c.text(se)
				}
			}
			cells = append(cells, text)
		}
		t.Rows = append(t.Rows, cells)
	}
	for _, name := range superResMethods {
		if m, ok := rep.Method[name]; ok {
			title := rep.titles[name]
			if title == "" {
				title = name
			}
			row(title, m)
		}
	}
	floor := "Truth"
	if rep.Data == "gaussian" {
		floor = "Exact posterior"
	}
	row(floor, rep.Floor)
	t.Notes = []string{fmt.Sprintf("%s with noise of sd %g, %d measurements of test images, %d samples of each posterior. PSNR and SSIM are of the mean of the samples.",
		rep.Operator, rep.Sigma, rep.Measurements, rep.Samples),
		"PSNR is in dB. Residual is ‖Ax−y‖²/(nσ²): 1 for the truth. Spread is that over the error of the mean: 1 if calibrated.",
		"Calls and seconds are per restored image, with all its samples. A backward pass, which DPS and SMC need, is no call.",
		"To learn: calls before the first image, for fine-tuning, or tuning of a scale."}
	if rep.Data == "gaussian" {
		t.Notes = append(t.Notes, "Mean error is ‖mean − exact‖/√tr C, variance tr Ĉ/tr C, covariance ‖Ĉ − C‖/‖C‖, for the exact posterior covariance C.")
	}
	if single {
		t.Notes = append(t.Notes, fmt.Sprintf("%s was trained for one measurement and is measured on that one only; the PSNR of one is that of every method there.",
			rep.titles["importance_single"]))
	}
	if rep.Seeds > 1 {
		t.Notes = append(t.Notes, fmt.Sprintf("Mean ± standard error over %d seeds of fine-tuning and sampling; the measurements are the same.", rep.Seeds))
	}
	return t
}
