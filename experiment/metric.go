package experiment

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Metric is something that is measured: its name in results, and how it is shown. Everything that shows numbers reads this.
type Metric struct {
	Name   string // in JSON
	Title  string
	Better string  // "lower" or "higher"; "" where neither is
	Format string  // of the number shown, such as "%.3f"; "" for a count
	Factor float64 // of the number shown; 0 means 1
	Unit   string  // of the number shown
	Log    bool    // axes are logarithmic
	Live   bool    // shown while a run works
	// Overall metrics are means over all tasks, where others are over groups of them. Work is one of them that tells of the work and not of
	// the samples: it is not measured again.
	Overall, Work bool
	Aside         bool // in tables, but not in figures
	Hidden        bool // in JSON only
	Rare          bool // in JSON of methods that have it, where others are null
	// Reference is the place in the report of what the target itself reaches; "" means "floor." and the name.
	Reference string
}

// Text writes a number in the metric's format, with its standard error if there is one.
func (m Metric) Text(e Estimate) string {
	v, se := e.Value*m.factor(), e.SE*m.factor()
	if !finite(v) {
		return "—"
	}
	if m.Format == "" {
		return count(v)
	}
	format := m.Format
	if math.Abs(v) >= 1e5 {
		format = "%.1g" // a diverged estimate needs no digits
	}
	text := signed(fmt.Sprintf(format, v))
	if finite(se) && !m.Work {
		text += " ± " + fmt.Sprintf(format, se)
	}
	return text + m.Unit
}

func (m Metric) factor() float64 {
	if m.Factor == 0 {
		return 1
	}
	return m.Factor
}

// group is a part of the tasks whose means are shown together.
type group struct {
	name, title string
	tasks       []string
}

// groupsOf returns the groups of a problem's tasks, in their order.
func groupsOf(p Problem, tasks []string) (out []group) {
	for _, task := range tasks {
		name, title := p.GroupOf(task)
		i := slices.IndexFunc(out, func(g group) bool { return g.name == name })
		if i < 0 {
			i, out = len(out), append(out, group{name: name, title: title})
		}
		out[i].tasks = append(out[i].tasks, task)
	}
	return out
}

// column is a metric of one group, or of all tasks.
type column struct {
	Metric
	key   string   // in the results of a report
	tasks []string // that it is a mean over
	group int
}

// columns returns the metrics of every group and then those of all tasks.
func columns(p Problem, tasks []string) (out []column) {
	groups := groupsOf(p, tasks)
	named := groups[0].name != ""
	for i, g := range groups {
		for _, m := range metrics(p) {
			c := column{m, m.Name, g.tasks, i}
			if named {
				if m.Overall {
					continue
				}
				if c.key = g.name + "." + m.Name; i > 0 {
					c.Title = g.title + " " + c.Title
				}
				c.Reference = ""
			}
			out = append(out, c.placed())
		}
	}
	for _, m := range metrics(p) {
		if named && m.Overall {
			out = append(out, column{m, m.Name, tasks, 0}.placed())
		}
	}
	return out
}

// placed says where the reference is in the report.
func (c column) placed() column {
	if c.Reference == "" {
		c.Reference = "floor." + c.key
	}
	return c
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// signed writes minus signs as such.
func signed(s string) string { return strings.ReplaceAll(s, "-", "−") }

// count writes a count with a metric prefix.
func count(v float64) string {
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

// counted writes how many there are of something.
func counted(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprint(n, " ", what)
}
