package experiment

import (
	"bytes"
	"encoding/csv"
	"maps"
	"slices"
	"strconv"

	"github.com/doob-diffusion/doob/internal/atomicfile"
)

// writeCSV writes all numbers of a report, a line each, for spreadsheets and programs that read no JSON: those of a method without a task are its means over tasks.
// Of a number that does not exist there is no line; an error that does not, over one seed, is left empty.
func (rep *Report) writeCSV(path string) error {
	number := func(v float64) string {
		if !finite(v) {
			return ""
		}
		return strconv.FormatFloat(v, 'g', -1, 64)
	}
	var b bytes.Buffer
	lines := csv.NewWriter(&b)
	lines.Write([]string{"task", "method", "title", "metric", "value", "standard_error"}) // errors are kept for the end
	of := func(task string, methods map[string]Result) {
		for _, name := range rep.Order {
			r := methods[name]
			for _, metric := range slices.Sorted(maps.Keys(r)) {
				if v := r[metric]; finite(v.Value) {
					lines.Write([]string{task, name, rep.Titles[name], metric, number(v.Value), number(v.SE)})
				}
			}
		}
	}
	of("", rep.Methods)
	for _, task := range rep.tasks {
		if task != "" {
			of(task, rep.Tasks[task])
		}
	}
	lines.Flush()
	if err := lines.Error(); err != nil {
		return err
	}
	return atomicfile.Write(path, b.Bytes())
}
