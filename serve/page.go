package serve

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/internal/config"
	"github.com/doob-diffusion/doob/report"
)

// page shows the list of all runs, or the runs that are asked for.
func (s *Server) page(w http.ResponseWriter, r *http.Request) {
	runs, ok := s.asked(w, r)
	switch {
	case !ok:
	case len(runs) == 0:
		v := listView{Rows: s.list()}
		if s.studio != nil {
			v.Draws, v.Models = true, s.collection.models()
		}
		s.render(w, "list", v)
	default:
		v := shown(runs)
		v.Draws = s.studio != nil
		s.render(w, "runs", v)
	}
}

// render writes a page whole or tells why not.
func (s *Server) render(w http.ResponseWriter, name string, data any) {
	var b bytes.Buffer
	if err := pages.ExecuteTemplate(&b, name, data); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Write(b.Bytes()) // who has gone misses nothing
}

// listView is the list of all runs, and of models that can be drawn from.
type listView struct {
	Rows   []row
	Models []string
	Draws  bool
}

// row is a run in the list.
type row struct {
	Name, Experiment, State string
	Changed                 time.Time
}

var experimentLine = regexp.MustCompile(`(?m)^experiment:\s*(\S+)`)

// list has the runs that work first, then the latest.
func (s *Server) list() (rows []row) {
	for _, r := range s.collection.runs() {
		one := row{Name: r.name, State: r.State(), Changed: r.Changed()}
		if text, err := r.Config(); err == nil {
			if m := experimentLine.FindStringSubmatch(text); m != nil {
				one.Experiment = m[1]
			}
		}
		rows = append(rows, one)
	}
	slices.SortStableFunc(rows, func(a, b row) int {
		return cmp.Or(working(b)-working(a), b.Changed.Compare(a.Changed))
	})
	return rows
}

func working(r row) int {
	if r.State == experiment.Running {
		return 1
	}
	return 0
}

// view is some runs side by side.
type view struct {
	Title   string
	Runs    []runView
	Tables  []named
	Missing []string // why there is no table
	Same    int      // settings that all share
	Draws   bool     // samples can be drawn here
	Differ  []difference

	Pictured bool // there are pictures
}

type named struct {
	Title string
	report.Table
}

type runView struct {
	Name, State, Config string
	Previews            []experiment.Previews
	Figures, Samples    []experiment.File
	Downloads           []experiment.File
}

// picture is a file of a run.
type picture struct{ Run, Name string }

// difference is a setting that some runs do not share.
type difference struct {
	Key    string
	Values []string
}

func shown(runs []run) view {
	v := view{Title: runs[0].name}
	if len(runs) > 1 {
		v.Title = fmt.Sprintf("%d runs", len(runs))
	}
	var configs []string
	reports := map[string][]*experiment.Report{} // by experiment
	names := map[string][]string{}
	for _, r := range runs {
		one := runView{Name: r.name, State: r.State()}
		text, err := r.Config()
		if err != nil {
			text = err.Error()
		}
		one.Config = text
		configs = append(configs, text)
		previews, others := experiment.PreviewsOf(r.Files())
		one.Previews = previews
		for _, f := range others {
			switch {
			case path.Ext(f.Name) != ".png":
				one.Downloads = append(one.Downloads, f)
			case path.Dir(f.Name) == "samples":
				one.Samples = append(one.Samples, f)
			default:
				one.Figures = append(one.Figures, f)
			}
		}
		v.Runs = append(v.Runs, one)
		v.Pictured = v.Pictured || len(one.Previews)+len(one.Figures)+len(one.Samples) > 0
		rep, err := r.Report()
		if err != nil {
			if one.State == experiment.Complete {
				v.Missing = append(v.Missing, fmt.Sprintf("%s: %v", r.name, err))
			} else {
				v.Missing = append(v.Missing, fmt.Sprintf("%s has no results yet: it is %s.", r.name, one.State))
			}
			continue
		}
		reports[rep.Experiment] = append(reports[rep.Experiment], rep)
		names[rep.Experiment] = append(names[rep.Experiment], r.name)
	}
	v.tables(reports, names)
	v.differences(configs)
	return v
}

// tables has the results of every experiment, and the certificates of every run.
func (v *view) tables(reports map[string][]*experiment.Report, names map[string][]string) {
	var kinds []string
	for kind := range reports {
		kinds = append(kinds, kind)
	}
	slices.Sort(kinds)
	for _, kind := range kinds {
		all, title := reports[kind], "Results"
		if len(kinds) > 1 {
			title += ", " + kind
		}
		if len(all) == 1 {
			v.Tables = append(v.Tables, named{title, all[0].Table()})
		} else {
			v.Tables = append(v.Tables, named{title, experiment.NewComparison(names[kind], all).Table()})
		}
		for i, rep := range all {
			title := "Certificates"
			if len(v.Runs) > 1 {
				title += ", " + names[kind][i]
			}
			if table := rep.Certificates(); len(table.Rows) > 0 {
				v.Tables = append(v.Tables, named{title, table})
			}
		}
	}
}

// differences lists the settings that the runs do not share.
func (v *view) differences(configs []string) {
	if len(configs) < 2 {
		return
	}
	var all [][]config.Value
	var keys []string
	for _, text := range configs {
		values, err := config.Flatten([]byte(text), nil)
		if err != nil {
			v.Missing = append(v.Missing, fmt.Sprintf("a configuration cannot be compared: %v", err))
			return
		}
		all = append(all, values)
		for _, value := range values {
			keys = append(keys, value.Key)
		}
	}
	seen := map[string]bool{}
	for _, key := range keys {
		if seen[key] {
			continue
		}
		seen[key] = true
		d := difference{Key: key}
		for _, values := range all {
			d.Values = append(d.Values, cmp.Or(strings.Join(config.Values(values, key), " "), "—"))
		}
		if len(slices.Compact(slices.Clone(d.Values))) > 1 {
			v.Differ = append(v.Differ, d)
		} else {
			v.Same++
		}
	}
}

// settings is a request as JSON, for people.
func settings(r Request) (string, error) {
	text, err := json.MarshalIndent(r, "", "  ")
	return string(text), err
}

// bytesText writes a size with three digits.
func bytesText(n int64) string {
	v, unit := float64(n), "B"
	for _, next := range []string{"kB", "MB", "GB"} {
		if v < 1000 {
			break
		}
		v, unit = v/1000, next
	}
	return fmt.Sprintf("%.3g %s", v, unit)
}

// ago says how long something is past.
func ago(t time.Time) string {
	d := time.Since(t)
	switch {
	case t.IsZero():
		return "never"
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0f s ago", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%.0f min ago", d.Minutes())
	case d < 48*time.Hour:
		return fmt.Sprintf("%.0f h ago", d.Hours())
	}
	return t.Format("2 January 2006")
}
