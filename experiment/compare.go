package experiment

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/report"
)

// Comparison holds the results of finished runs of one experiment side by side: what every method reached in every run,
// by the metrics of that experiment.
type Comparison struct {
	Experiment string           `json:"experiment"`
	Runs       []ComparedRun    `json:"runs"`
	Metrics    []ComparedMetric `json:"metrics"` // those of which any run has a number
	Rows       []ComparedRow    `json:"rows"`    // by method, then run; references are last
	// Unlike says where the runs do not share what would make their numbers comparable.
	Unlike []string `json:"unlike,omitempty"`

	recipe comparison
}

// ComparedRun is a run, labelled by the shortest part of its path that tells it from the others.
type ComparedRun struct {
	Label   string  `json:"label"`
	Folder  string  `json:"folder"`
	Seed    uint64  `json:"seed"`
	Seeds   int     `json:"seeds"`
	Backend string  `json:"backend"`
	Version string  `json:"version"`
	Seconds float64 `json:"seconds"`
	about   string
}

// ComparedMetric is a column of a comparison.
type ComparedMetric struct {
	Name   string `json:"name"` // its place in a method's part of report.json
	Title  string `json:"title"`
	Better string `json:"better,omitempty"` // lower or higher; "" where neither is
	metricStyle
}

// metricStyle says how a metric is shown.
type metricStyle struct {
	format string  // of a number; "" means a count
	factor float64 // of the number shown; 0 means 1
	unit   string  // of the number shown
	log    bool    // the axis is logarithmic
	aside  bool    // it is in the table, but not in the figure
}

// ComparedRow is what one method reached in one run.
type ComparedRow struct {
	Method  string              `json:"method"` // "reference": what samples of the target itself reach
	Title   string              `json:"title"`
	Run     string              `json:"run"` // its label
	Numbers map[string]Estimate `json:"numbers"`
}

const referenceMethod = "reference"

// Estimate is a number and its standard error over the seeds. JSON has null for one that does not exist.
type Estimate struct {
	Value finetune.Number `json:"value"`
	SE    finetune.Number `json:"se"`
}

// comparison says what of an experiment's report.json is compared, and what it is called.
type comparison struct {
	methods   []string // in order; others follow
	titles    map[string]string
	metrics   []ComparedMetric
	reference string                     // title of the references
	place     func(metric string) string // of a metric's reference in the report
	about     func(reportTree) string    // what a reader should know of a run
	alike     []alike                    // what must be the same for numbers to be comparable
	columns   int                        // of the figure
}

// alike is a property that runs share if their numbers compare.
type alike struct {
	what string
	of   func(reportTree) string
}

var comparisons = map[string]comparison{
	"superres": restoration,
	"toy": {
		methods: toyMethods, titles: toyTitles, columns: 5,
		metrics: []ComparedMetric{
			{"mode_tv", "mode TV", "lower", metricStyle{format: "%.3f"}},
			{"sw2", "SW2", "lower", metricStyle{format: "%.3f", log: true}},
			{"energy", "energy", "lower", metricStyle{format: "%.4f", log: true}},
			{"reward", "reward", "", metricStyle{format: "%.2f"}},
			{"ess_fraction", "ESS", "higher", metricStyle{format: "%.2f"}},
			{"log_z", "log Ẑ", "", metricStyle{format: "%.3f"}},
			{"kl", "KL", "lower", metricStyle{format: "%.3f", log: true}},
			{"paths", "paths", "", metricStyle{log: true}},
			{"network_calls", "calls", "", metricStyle{log: true}},
			{"seconds", "seconds", "", metricStyle{format: "%.0f", log: true}},
		},
		reference: "Exact law",
		place: func(metric string) string {
			return map[string]string{"sw2": "floor.sw2", "log_z": "exact.log_z"}[metric]
		},
		about: func(r reportTree) string { return r.text("base") + " base score" },
		alike: []alike{{"target (exact log Z)", func(r reportTree) string { return signed(fmt.Sprintf("%.4f", r.number("exact.log_z"))) }}},
	},
	"mnist": {
		methods: mnistMethods, titles: mnistTitles, columns: 4,
		metrics: slices.Concat(tableOne("single.", ""), tableOne("even_odd.", "even/odd "), []ComparedMetric{
			{"ess_fraction", "ESS", "higher", metricStyle{format: "%.3f"}},
			{"kl", "KL", "lower", metricStyle{format: "%.2f", log: true}},
			{"paths", "paths", "", metricStyle{aside: true}},
			{"network_calls", "calls", "", metricStyle{log: true}},
			{"seconds", "minutes", "", metricStyle{format: "%.2f", factor: 1. / 60, log: true}},
		}),
		reference: "Real images",
		place:     func(metric string) string { return "floor." + metric },
		about:     func(r reportTree) string { return "data " + r.text("data") },
		alike: []alike{
			{"data", func(r reportTree) string { return r.text("data") }},
			{"tasks", func(r reportTree) string { return strings.Join(slices.Sorted(maps.Keys(r.object("tasks"))), " ") }},
		},
	},
}

// restoration is what "doob compare" tells of super-resolution.
var restoration = comparison{
	methods: superResMethods, titles: superResTitles, columns: 4,
	metrics: []ComparedMetric{
		{"psnr", "PSNR, dB", "higher", metricStyle{format: "%.2f"}},
		{"ssim", "SSIM", "higher", metricStyle{format: "%.3f"}},
		{"residual", "residual", "", metricStyle{format: "%.2f", log: true}},
		{"crps", "CRPS", "lower", metricStyle{format: "%.4f"}},
		{"spread_skill", "spread/skill", "", metricStyle{format: "%.2f"}},
		{"fid", "FID", "lower", metricStyle{format: "%.3f", log: true}},
		{"mean_error", "mean error", "lower", metricStyle{format: "%.3f", log: true}},
		{"covariance", "covariance error", "lower", metricStyle{format: "%.3f", log: true}},
		{"l_sc", "L_SC", "lower", metricStyle{format: "%.0f", log: true}},
		{"network_calls", "calls", "", metricStyle{log: true}},
		{"seconds", "seconds", "", metricStyle{format: "%.2f", log: true}},
		{"training_calls", "calls to learn", "", metricStyle{aside: true}},
	},
	reference: "Truth",
	place:     func(metric string) string { return "floor." + metric },
	about:     func(r reportTree) string { return "data " + r.text("data") + ", " + r.text("operator") },
	alike: []alike{
		{"data", func(r reportTree) string { return r.text("data") }},
		{"operator and noise", func(r reportTree) string { return fmt.Sprintf("%s, %g", r.text("operator"), r.number("sigma")) }},
		{"measurements", func(r reportTree) string { return fmt.Sprint(r.number("measurements")) }},
	},
}

// tableOne are the metrics of one of the two columns of Table 1.
func tableOne(column, title string) []ComparedMetric {
	return []ComparedMetric{
		{column + "reward", title + "reward", "higher", metricStyle{format: "%.2f"}},
		{column + "fid", title + "FID", "lower", metricStyle{format: "%.3f", log: true}},
		{column + "accuracy", title + "accuracy", "higher", metricStyle{format: "%.1f", factor: 100, unit: " %"}},
		{column + "diversity", title + "diversity", "", metricStyle{format: "%.3f"}},
	}
}

// Compare reads the reports of two or more finished runs of one experiment.
func Compare(folders []string) (*Comparison, error) {
	if len(folders) < 2 {
		return nil, fmt.Errorf("compare: %d run folder(s): want at least 2", len(folders))
	}
	labels, err := runLabels(folders)
	if err != nil {
		return nil, err
	}
	c := &Comparison{}
	reports := make([]reportTree, len(folders))
	for i, folder := range folders {
		r, run, err := readReport(folder)
		if err != nil {
			return nil, err
		}
		kind := r.text("experiment")
		recipe, known := comparisons[kind]
		switch {
		case !known:
			return nil, fmt.Errorf("%w %s: experiment %q is unknown to this version", ErrFolder, folder, kind)
		case i > 0 && kind != c.Experiment:
			return nil, fmt.Errorf("compare: %s is a run of %s, %s of %s: want runs of one experiment", folders[0], c.Experiment, folder, kind)
		}
		run.Label, run.Folder, run.about = labels[i], folder, recipe.about(r)
		c.Experiment, c.recipe, c.Runs, reports[i] = kind, recipe, append(c.Runs, run), r
	}
	c.fill(reports)
	return c, nil
}

// fill adds the metrics, the rows, and what is unlike.
func (c *Comparison) fill(reports []reportTree) {
	names := map[string]bool{}
	for _, r := range reports {
		for name := range r.object("methods") {
			names[name] = true
		}
	}
	rank := func(name string) int {
		if i := slices.Index(c.recipe.methods, name); i >= 0 {
			return i
		}
		return len(c.recipe.methods)
	}
	methods := slices.SortedFunc(maps.Keys(names), func(a, b string) int {
		return cmp.Or(rank(a)-rank(b), strings.Compare(a, b))
	})
	for _, m := range c.recipe.metrics {
		if slices.ContainsFunc(reports, func(r reportTree) bool {
			return slices.ContainsFunc(methods, func(name string) bool { return !math.IsNaN(r.object("methods").object(name).number(m.Name)) })
		}) {
			c.Metrics = append(c.Metrics, m)
		}
	}
	for _, name := range methods {
		title := cmp.Or(c.recipe.titles[name], name)
		for i, r := range reports {
			method := r.object("methods").object(name)
			c.add(ComparedRow{Method: name, Title: title, Run: c.Runs[i].Label}, func(metric string) Estimate {
				at := strings.LastIndex(metric, ".") + 1
				return Estimate{finetune.Number(method.number(metric)), finetune.Number(method.number(metric[:at] + "se." + metric[at:]))}
			})
		}
	}
	for i, r := range reports {
		c.add(ComparedRow{Method: referenceMethod, Title: c.recipe.reference, Run: c.Runs[i].Label}, func(metric string) Estimate {
			return Estimate{finetune.Number(r.number(c.recipe.place(metric))), nan}
		})
	}
	for _, a := range c.recipe.alike {
		var values, told []string
		for i, r := range reports {
			values = append(values, a.of(r))
			told = append(told, c.Runs[i].Label+": "+values[i])
		}
		if len(slices.Compact(values)) > 1 {
			c.Unlike = append(c.Unlike, fmt.Sprintf("The runs differ in their %s, so that their numbers do not compare (%s).", a.what, strings.Join(told, "; ")))
		}
	}
}

// add appends a row with its numbers, unless it has none.
func (c *Comparison) add(row ComparedRow, number func(metric string) Estimate) {
	row.Numbers = map[string]Estimate{}
	some := false
	for _, m := range c.Metrics {
		e := number(m.Name)
		row.Numbers[m.Name] = e
		some = some || !math.IsNaN(float64(e.Value))
	}
	if some {
		c.Rows = append(c.Rows, row)
	}
}

// Table is the comparison for people. A method is named in the first of its rows, and references that all runs share are
// one row.
func (c *Comparison) Table() report.Table {
	t := report.Table{Columns: []report.Column{{Name: "method"}, {Name: "run"}}, Notes: slices.Clone(c.Unlike)}
	for _, m := range c.Metrics {
		t.Columns = append(t.Columns, report.Column{Name: m.Title, Right: true})
	}
	var references [][]string
	for i, r := range c.Rows {
		row := []string{r.Title, r.Run}
		if i > 0 && c.Rows[i-1].Method == r.Method {
			row[0] = ""
		}
		for _, m := range c.Metrics {
			row = append(row, m.text(r.Numbers[m.Name]))
		}
		if r.Method == referenceMethod {
			references = append(references, row)
		} else {
			t.Rows = append(t.Rows, row)
		}
	}
	if len(references) > 1 && !slices.ContainsFunc(references, func(row []string) bool { return !slices.Equal(row[2:], references[0][2:]) }) {
		references = references[:1] // it is that of all runs
		references[0][1] = ""
	}
	t.Rows = append(t.Rows, references...)
	versions := map[string]bool{}
	for _, r := range c.Runs {
		versions[r.Version] = true
	}
	for _, r := range c.Runs {
		seeds := fmt.Sprintf("seed %d", r.Seed)
		if r.Seeds > 1 {
			seeds = fmt.Sprintf("seeds %d to %d, mean ± standard error", r.Seed, r.Seed+uint64(r.Seeds)-1)
		}
		note := fmt.Sprintf("%s: %s, %s, backend %s, %s", r.Label, seeds, r.about, r.Backend, duration(r.Seconds))
		if len(versions) > 1 {
			note += ", doob " + r.Version
		}
		t.Notes = append(t.Notes, note+".")
	}
	return t
}

// text writes an estimate in the metric's format.
func (m ComparedMetric) text(e Estimate) string {
	v, se := float64(e.Value)*cmp.Or(m.factor, 1), float64(e.SE)*cmp.Or(m.factor, 1)
	if !finite(v) {
		return "—"
	}
	if m.format == "" {
		return metricCount(v)
	}
	format := m.format
	if math.Abs(v) >= 1e5 {
		format = "%.1g" // a diverged estimate needs no digits
	}
	text := signed(fmt.Sprintf(format, v))
	if finite(se) {
		text += " ± " + fmt.Sprintf(format, se)
	}
	return text + m.unit
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// Figure writes a PNG with a panel for each metric: a row for each method, a dot for each run.
func (c *Comparison) Figure(path string) error {
	if filepath.Ext(path) != ".png" {
		return fmt.Errorf("compare: figure %q: want a name that ends in .png", path)
	}
	var methods, titles []string
	for _, r := range c.Rows {
		if r.Method != referenceMethod && !slices.Contains(methods, r.Method) {
			methods, titles = append(methods, r.Method), append(titles, r.Title)
		}
	}
	var panels []report.DotPanel
	for _, m := range c.Metrics {
		if !m.aside {
			panels = append(panels, c.panel(m, methods))
		}
	}
	return report.Dots(path, c.recipe.columns, titles, panels)
}

func (c *Comparison) panel(m ComparedMetric, methods []string) report.DotPanel {
	p := report.DotPanel{Title: m.Title, Log: m.log}
	if m.Better != "" {
		p.Note = m.Better + " is better"
	}
	if m.unit != "" {
		p.Title += "," + m.unit
	}
	factor := cmp.Or(m.factor, 1)
	for _, run := range c.Runs {
		s := report.DotSeries{Name: run.Label, X: slices.Repeat([]float64{math.NaN()}, len(methods)), Err: make([]float64, len(methods))}
		for _, r := range c.Rows {
			if r.Run != run.Label {
				continue
			}
			e := r.Numbers[m.Name]
			if r.Method == referenceMethod {
				p.Lines = append(p.Lines, report.DotLine{X: factor * float64(e.Value), Label: r.Title})
				continue
			}
			i := slices.Index(methods, r.Method)
			s.X[i], s.Err[i] = factor*float64(e.Value), factor*float64(e.SE)
		}
		p.Series = append(p.Series, s)
	}
	return p
}

// runLabels returns, for each path, the fewest last elements that tell all of them apart, without those that they share.
func runLabels(paths []string) ([]string, error) {
	parts := make([][]string, len(paths))
	longest := 0
	for i, p := range paths {
		whole, err := filepath.Abs(p)
		if err != nil {
			return nil, fmt.Errorf("compare: %w", err)
		}
		parts[i] = strings.Split(filepath.ToSlash(whole), "/")
		longest = max(longest, len(parts[i]))
		if j := slices.IndexFunc(parts[:i], func(q []string) bool { return slices.Equal(q, parts[i]) }); j >= 0 {
			return nil, fmt.Errorf("compare: %s and %s are the same run folder", paths[j], p)
		}
	}
	last := func(from, to int) []string { // the elements from the from-th to the to-th, counted from the end
		out := make([]string, len(parts))
		for i, p := range parts {
			out[i] = strings.Join(p[max(0, len(p)-from):len(p)-to], "/")
		}
		return out
	}
	distinct := func(s []string) bool { return len(slices.Compact(slices.Sorted(slices.Values(s)))) == len(s) }
	from, to := 1, 0
	for from < longest && !distinct(last(from, 0)) {
		from++
	}
	for len(slices.Compact(last(to+1, to))) == 1 { // ends, since no two paths are the same
		to++
	}
	labels := last(from, to)
	for i, l := range labels {
		labels[i] = cmp.Or(l, "/")
	}
	return labels, nil
}

// reportTree is a report.json, or a part of one, read without its types: what an older version did not write is absent
// rather than 0.
type reportTree map[string]any

// readReport returns the report of a finished run, and what it says of the run as such.
func readReport(folder string) (r reportTree, run ComparedRun, err error) {
	source, err := os.ReadFile(filepath.Join(folder, "report.json"))
	if errors.Is(err, fs.ErrNotExist) {
		err = unfinished(folder)
	}
	if err != nil {
		return nil, run, fmt.Errorf("%w %s: %w", ErrFolder, folder, err)
	}
	if err := errors.Join(json.Unmarshal(source, &r), json.Unmarshal(source, &run)); err != nil {
		return nil, run, fmt.Errorf("%w %s: report.json: %w", ErrFolder, folder, err)
	}
	return r, run, nil
}

// unfinished says why a folder has no report.
func unfinished(folder string) error {
	if _, err := os.Stat(folder); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(folder, "config.yaml")); err != nil {
		return errors.New("want a run folder, this one has neither report.json nor config.yaml")
	}
	return fmt.Errorf("the run is not finished, it has no report.json yet: doob run --resume %s", folder)
}

// object returns a part, nil if there is none.
func (r reportTree) object(name string) reportTree {
	part, _ := r[name].(map[string]any)
	return part
}

func (r reportTree) text(name string) string {
	s, _ := r[name].(string)
	return s
}

// number returns the number at a path such as floor.sw2, NaN if there is none.
func (r reportTree) number(path string) float64 {
	for part, rest, nested := strings.Cut(path, "."); nested; part, rest, nested = strings.Cut(path, ".") {
		r, path = r.object(part), rest
	}
	if v, ok := r[path].(float64); ok {
		return v
	}
	return math.NaN()
}
