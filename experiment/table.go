package experiment

import (
	"fmt"
	"slices"

	"github.com/doob-diffusion/doob/report"
)

// Table is the result for people: a block of rows for every group of tasks, a row for every method. Metrics that nobody has are left out.
func (rep *Report) Table() report.Table {
	t := table(rep.problem, rep.tasks, []*Report{rep})
	t.Notes = rep.notes
	if rep.notes == nil {
		t.Notes = rep.problem.Notes(rep)
	}
	t.Notes = append(append(t.Notes, rep.Cautions...), rep.doubtful()...)
	if rep.Seeds > 1 {
		t.Notes = append(t.Notes, fmt.Sprintf("Mean ± standard error over %d seeds of fine-tuning and sampling.", rep.Seeds))
	}
	return t
}

// TaskTable has a row for every task and method.
func (rep *Report) TaskTable() report.Table {
	metrics := shown(rep.problem, []string{""}, func(c column) bool {
		return slices.ContainsFunc(rep.tasks, func(task string) bool {
			return slices.ContainsFunc(rep.Order, func(name string) bool { return finite(rep.Tasks[task][name].value(c.Name)) })
		})
	})
	t := report.Table{Columns: []report.Column{{Name: "task"}, {Name: "method"}}, Notes: rep.notes}
	for _, m := range metrics {
		t.Columns = append(t.Columns, report.Column{Name: m.Title, Right: true})
	}
	for _, task := range rep.tasks {
		label := task
		for _, name := range rep.Order {
			r, ok := rep.Tasks[task][name]
			if !ok {
				continue
			}
			row := []string{label, rep.Titles[name]}
			for _, m := range metrics {
				row = append(row, marked(rep.TaskVerdicts[task][name], m.Metric, r.get(m.Name)))
			}
			t.Rows, label = append(t.Rows, row), ""
		}
	}
	return t
}

// shown are the columns of tables, those that somebody has.
func shown(p Problem, tasks []string, has func(column) bool) []column {
	return slices.DeleteFunc(columns(p, tasks), func(c column) bool { return c.Hidden || !has(c) })
}

// table has the results of runs side by side: for every group of tasks a block of rows, for every method a row of each run, and below
// what the target itself reaches. The metrics of a group that is not the first have their own rows, and those of all tasks are in the first.
func table(p Problem, tasks []string, runs []*Report) report.Table {
	groups := groupsOf(p, tasks)
	all := shown(p, tasks, func(c column) bool {
		return slices.ContainsFunc(runs, func(r *Report) bool {
			return slices.ContainsFunc(r.Order, func(name string) bool { return finite(r.Methods[name].value(c.key)) })
		})
	})
	t, named, labelled := report.Table{}, groups[0].name != "", len(runs) > 1
	if named {
		t.Columns = append(t.Columns, report.Column{Name: "tasks"})
	}
	t.Columns = append(t.Columns, report.Column{Name: "method"})
	if labelled {
		t.Columns = append(t.Columns, report.Column{Name: "run"})
	}
	var heads []column
	for _, c := range all {
		if c.group == 0 {
			heads, t.Columns = append(heads, c), append(t.Columns, report.Column{Name: c.Title, Right: true})
		}
	}
	row := func(g int, title, label string, text func(column) string) {
		var cells []string
		if named {
			cells = []string{groups[g].title}
		}
		if cells = append(cells, title); labelled {
			cells = append(cells, label)
		}
		for _, head := range heads {
			cell := ""
			for _, c := range all {
				if c.Name == head.Name && c.group == g && !(c.Overall && g > 0) {
					cell = text(c)
				}
			}
			cells = append(cells, cell)
		}
		t.Rows = append(t.Rows, cells)
	}
	for g := range groups {
		for _, name := range order(runs) {
			title := title(runs, name)
			for _, r := range runs {
				if _, ok := r.Methods[name]; ok {
					row(g, title, r.label, func(c column) string { return marked(r.Verdicts[name], c.Metric, r.Methods[name].get(c.key)) })
					title = ""
				}
			}
		}
		for i, r := range runs {
			some := false
			reference := func(c column) string {
				some = some || finite(r.Reference.value(c.Reference))
				return c.Text(r.Reference.get(c.Reference))
			}
			label := r.label
			if sameReference(runs, all) {
				label = ""
				if i > 0 {
					break
				}
			}
			if row(g, p.Reference(), label, reference); !some {
				t.Rows = t.Rows[:len(t.Rows)-1]
			}
		}
	}
	return t
}

// order lists the methods of all runs.
func order(runs []*Report) (names []string) {
	for _, r := range runs {
		for _, name := range r.Order {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// title is a method's name for people.
func title(runs []*Report, name string) string {
	for _, r := range runs {
		if t, ok := r.Titles[name]; ok {
			return t
		}
	}
	return runs[0].problem.common().title(name)
}

// sameReference reports whether the target is the same for all runs, by all that is known of it.
func sameReference(runs []*Report, columns []column) bool {
	return !slices.ContainsFunc(columns, func(c column) bool {
		return slices.ContainsFunc(runs, func(r *Report) bool {
			return c.Text(r.Reference.get(c.Reference)) != c.Text(runs[0].Reference.get(c.Reference))
		})
	})
}
