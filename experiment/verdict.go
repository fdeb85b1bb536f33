package experiment

import (
	"fmt"
	"slices"
	"strings"

	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/report"
)

// kind is the short form of a verdict, without the task and the numbers that its reason has.
func kind(v finetune.Verdict) string {
	for _, k := range []string{"tail too heavy", "misses mass", "too few paths"} {
		if !v.Reliable && strings.Contains(v.Reason, k) {
			return k
		}
	}
	if v.Reliable {
		return "reliable"
	}
	return "no weight"
}

// marked writes a number of a method, with a mark if the verdict on the method says that it must not be trusted.
func marked(v *finetune.Verdict, m Metric, e Estimate) string {
	text := m.Text(e)
	if v != nil && finite(e.Value) && doubts(*v, m.Name) {
		return text + doubted
	}
	return text
}

// doubtful says of which methods numbers must not be trusted, and why, by the kinds of reasons.
func (rep *Report) doubtful() []string {
	var kinds, parts []string
	named := map[string][]string{}
	for _, name := range rep.Order {
		if v := rep.Verdicts[name]; v != nil && !v.Reliable {
			k := kind(*v)
			if named[k] == nil {
				kinds = append(kinds, k)
			}
			named[k] = append(named[k], rep.Titles[name])
		}
	}
	for _, k := range kinds {
		parts = append(parts, fmt.Sprintf("%s (%s)", k, strings.Join(named[k], ", ")))
	}
	if len(parts) == 0 {
		return nil
	}
	return []string{doubted + " not to be trusted: " + strings.Join(parts, "; ") + "."}
}

// certificateTable has what path weights say of every method, with the reasons of the verdicts.
func (rep *Report) certificateTable() report.Table {
	shown := []string{"log_z", "l_sc", "kl", "ess_fraction", "k_hat", "certified_paths"}
	t := report.Table{Columns: []report.Column{{Name: "method"}}}
	for _, metric := range shown {
		t.Columns = append(t.Columns, report.Column{Name: certificateMetric(metric).Title, Right: true})
	}
	t.Columns = append(t.Columns, report.Column{Name: "verdict"})
	for _, name := range rep.Order {
		v := rep.Verdicts[name]
		if v == nil {
			continue
		}
		row := []string{rep.Titles[name]}
		for _, metric := range shown {
			row = append(row, marked(v, certificateMetric(metric), rep.Methods[name].get(metric)))
		}
		if t.Rows = append(t.Rows, append(row, kind(*v))); !v.Reliable {
			t.Notes = append(t.Notes, fmt.Sprintf("%s: %s.", rep.Titles[name], v.Reason))
		}
	}
	t.Notes = append(t.Notes, "All of this is of the simulated chain, and in what the paths reach: mass that no path has visited is in no number. "+
		"log Ẑ estimates the chain's log Z, not that of the process which it discretises. KL is L_SC + log Ẑ, with the log Ẑ that all methods here know together. "+
		"k̂ is the shape of the tail of the weights: below 0.7 and with enough paths their mean can be trusted, which does not say that the samples are good.",
		doubted+" must not be trusted.")
	return t
}

func certificateMetric(name string) Metric {
	return commonMetrics[slices.IndexFunc(commonMetrics, func(m Metric) bool { return m.Name == name })]
}
