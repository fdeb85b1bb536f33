package experiment

import (
	"cmp"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/doob-diffusion/doob/report"
)

// Comparison holds finished runs of one experiment side by side.
type Comparison struct {
	runs   []*Report
	unlike []string // where the runs do not share what would make their numbers comparable
}

// Compare reads the reports of two or more finished runs of one experiment.
func Compare(folders []string) (*Comparison, error) {
	if len(folders) < 2 {
		return nil, fmt.Errorf("compare: %s: want at least 2", counted(len(folders), "run folder"))
	}
	labels, err := runLabels(folders)
	if err != nil {
		return nil, err
	}
	var reports []*Report
	for _, folder := range folders {
		r, err := readReport(folder)
		if err != nil {
			return nil, err
		}
		if reports = append(reports, r); r.Experiment != reports[0].Experiment {
			return nil, fmt.Errorf("compare: %s is a run of %s, %s of %s: want runs of one experiment", folders[0], reports[0].Experiment, folder, r.Experiment)
		}
	}
	return NewComparison(labels, reports), nil
}

// NewComparison compares reports of one experiment, under these labels.
func NewComparison(labels []string, reports []*Report) *Comparison {
	c := &Comparison{runs: reports}
	for i, r := range reports {
		r.label = labels[i]
	}
	for _, at := range c.problem().Alike() {
		var values, told []string
		for _, r := range c.runs {
			values, told = append(values, r.at(at)), append(told, r.label+": "+r.at(at))
		}
		if len(slices.Compact(values)) > 1 {
			c.unlike = append(c.unlike, fmt.Sprintf("The runs differ in their %s, so that their numbers do not compare (%s).", words(at), strings.Join(told, "; ")))
		}
	}
	return c
}

func (c *Comparison) problem() Problem { return c.runs[0].problem }

func words(path string) string {
	return strings.NewReplacer("log_z", "log Z", ".", " ", "_", " ").Replace(path)
}

// MarshalJSON implements json.Marshaler: the report of every run by its label.
func (c *Comparison) MarshalJSON() ([]byte, error) {
	runs := map[string]*Report{}
	for _, r := range c.runs {
		runs[r.label] = r
	}
	return json.Marshal(map[string]any{"experiment": c.runs[0].Experiment, "runs": runs, "unlike": append([]string{}, c.unlike...)})
}

// Table is the comparison for people. A method is named in the first of its rows, and references that all runs share are one row.
func (c *Comparison) Table() report.Table {
	t := table(c.problem(), c.runs[0].tasks, c.runs)
	t.Notes = slices.Clone(c.unlike)
	for _, r := range c.runs {
		seeds := fmt.Sprintf("seed %d", r.Seed)
		if r.Seeds > 1 {
			seeds = fmt.Sprintf("seeds %d to %d, mean ± standard error", r.Seed, r.Seed+uint64(r.Seeds)-1)
		}
		about := []string{r.label + ": " + seeds}
		for _, at := range r.problem.Alike() {
			if v := r.at(at); v != "" {
				about = append(about, words(at)+" "+v)
			}
		}
		about = append(about, "backend "+r.Backend, duration(r.Seconds))
		if slices.ContainsFunc(c.runs, func(o *Report) bool { return o.Version != r.Version }) {
			about = append(about, "doob "+r.Version)
		}
		t.Notes = append(t.Notes, strings.Join(about, ", ")+".")
	}
	if slices.ContainsFunc(c.runs, func(r *Report) bool { return r.doubtful() != nil }) {
		t.Notes = append(t.Notes, doubted+" not to be trusted, for the reasons in the report of the run.")
	}
	return t
}

// Figure writes a PNG with a panel for each metric: a row for each method, a dot for each run.
func (c *Comparison) Figure(path string) error {
	if filepath.Ext(path) != ".png" {
		return fmt.Errorf("compare: figure %q: want a name that ends in .png", path)
	}
	names, titles := order(c.runs), []string(nil)
	for _, name := range names {
		titles = append(titles, title(c.runs, name))
	}
	var panels []report.DotPanel
	for _, col := range shown(c.problem(), c.runs[0].tasks, func(col column) bool {
		return !col.Aside && slices.ContainsFunc(names, func(name string) bool {
			return slices.ContainsFunc(c.runs, func(r *Report) bool { return finite(r.Methods[name].value(col.key)) })
		})
	}) {
		panels = append(panels, c.panel(col, names))
	}
	return report.Dots(path, min(5, (len(panels)+1)/2), titles, panels)
}

func (c *Comparison) panel(col column, names []string) report.DotPanel {
	p := report.DotPanel{Title: col.Title, Log: col.Log}
	if col.Better != "" {
		p.Note = col.Better + " is better"
	}
	if col.Unit != "" {
		p.Title += "," + col.Unit
	}
	for _, r := range c.runs {
		s := report.DotSeries{Name: r.label}
		for _, name := range names {
			e := r.Methods[name].get(col.key)
			s.X, s.Err = append(s.X, col.factor()*e.Value), append(s.Err, col.factor()*e.SE)
		}
		if v := r.Reference.value(col.Reference); finite(v) {
			p.Lines = append(p.Lines, report.DotLine{X: col.factor() * v, Label: c.problem().Reference()})
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
