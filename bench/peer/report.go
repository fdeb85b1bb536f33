//go:build linux

package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/doob-diffusion/doob/bench"
	"github.com/doob-diffusion/doob/internal/atomicfile"
)

// report is everything that one run of this program measured.
type report struct {
	Date    string         `json:"date"`
	Machine map[string]any `json:"machine"`
	Ours    map[string]any `json:"ours"`
	Peer    map[string]any `json:"peer,omitempty"`
	Rules   rules          `json:"rules"`
	Results []result       `json:"results"`
	Memory  []memory       `json:"memory,omitempty"`
}

// result is one work, timed.
type result struct {
	bench.Work
	Runs []run `json:"runs"` // in their order
}

// run is a work in fresh processes.
type run struct {
	Ours timing `json:"ours"`
	Peak timing `json:"peak"` // of the FMA loop, in turns with the rest
	// Exchange is that of two processors, likewise.
	Exchange timing   `json:"exchange"`
	Peers    []timing `json:"pytorch,omitempty"`
}

// ratio is the time of the fastest peer over ours; 0 if one of the two was not measured.
func (r run) ratio() float64 {
	peer, ok := fastest(r.Peers)
	if !ok || r.Ours.Clean == 0 {
		return 0
	}
	return peer.Seconds / r.Ours.Seconds
}

// sorted are the runs by their ratios.
func (v result) sorted() []run {
	return slices.SortedFunc(slices.Values(v.Runs), func(a, b run) int { return cmp.Compare(a.ratio(), b.ratio()) })
}

// exchange says how long a cache line takes from one processor to another and back, in all runs.
func (v result) exchange() string {
	var ns []float64
	for _, r := range v.Runs {
		if r.Exchange.Clean > 0 {
			ns = append(ns, 1e9*r.Exchange.Seconds/bench.ExchangeTrips)
		}
	}
	if len(ns) == 0 {
		return "—"
	}
	least, most := fmt.Sprintf("%.0f", slices.Min(ns)), fmt.Sprintf("%.0f", slices.Max(ns))
	if least == most {
		return least + " ns"
	}
	return least + " to " + most + " ns"
}

// memory is one work's peak of resident memory, bytes, each side in a fresh process.
type memory struct {
	Name  string  `json:"name"`
	Ours  usage   `json:"ours"`
	Peers []usage `json:"pytorch,omitempty"`
}

// usage is what one process needed: before the work, and at most.
type usage struct {
	Name  string `json:"name"`
	Idle  int64  `json:"idle"`
	Peak  int64  `json:"peak"`
	Fault string `json:"fault,omitempty"`
}

// result is that of a work, which begins here if need be.
func (r *report) result(w bench.Work) *result {
	i := slices.IndexFunc(r.Results, func(v result) bool { return v.Name == w.Name })
	if i < 0 {
		i, r.Results = len(r.Results), append(r.Results, result{Work: w})
	}
	return &r.Results[i]
}

// arrange puts results into an order, and drops works without any run.
func (r *report) arrange(works []bench.Work) {
	at := func(name string) int {
		return slices.IndexFunc(works, func(w bench.Work) bool { return w.Name == name })
	}
	r.Results = slices.DeleteFunc(r.Results, func(v result) bool { return len(v.Runs) == 0 })
	slices.SortFunc(r.Results, func(a, b result) int { return cmp.Compare(at(a.Name), at(b.Name)) })
	slices.SortFunc(r.Memory, func(a, b memory) int { return cmp.Compare(at(a.Name), at(b.Name)) })
}

// circumstances are what results depend on besides the works.
func (r *report) circumstances() string {
	text, err := json.Marshal([]any{r.Machine, r.Ours, r.Peer, r.Rules})
	if err != nil {
		panic(err) // they were JSON, or are plain values
	}
	return string(text)
}

// opponent is the machine and the PyTorch on it, which say what variant is the fastest.
func (r *report) opponent() string {
	text, err := json.Marshal([]any{r.Machine, r.Peer})
	if err != nil {
		panic(err) // they were JSON, or are plain values
	}
	return string(text)
}

// markdown writes the tables of docs/performance.md. Of several runs the row is the one with the median ratio, and the column after it has the extremes.
func (r *report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s. %s, %v processors; %v", r.Date, r.Machine["cpu"], r.Machine["processors"], r.Ours["go"])
	fmt.Fprintf(&b, ", instruction set %v, %v threads", r.Ours["isa"], r.Ours["threads"])
	if r.Peer != nil {
		fmt.Fprintf(&b, "; PyTorch %v (%v), %v threads", r.Peer["torch"], r.Peer["capability"], r.Peer["threads"])
	}
	b.WriteString(".\n\n")
	if len(r.Results) > 0 {
		b.WriteString("| work | doob | GFLOP/s | of peak | PyTorch | GFLOP/s | its variant | ratio | in all runs | between processors | clean batches |\n")
		b.WriteString("|---|---:|---:|---:|---:|---:|---|---:|---|---|---|\n")
	}
	for _, v := range r.Results {
		runs := v.sorted()
		m := runs[len(runs)/2]
		peer, ok := fastest(m.Peers)
		cells := []string{v.Name, speed(v.Work, m.Ours), rate(v.Flop, m.Ours), "—", speed(v.Work, peer), rate(v.Flop, peer), "—", "—", "—", v.exchange(), fmt.Sprint(m.Ours.Clean)}
		if m.Peak.Clean > 0 && m.Ours.Clean > 0 && v.Flop > 0 {
			cells[3] = fmt.Sprintf("%.0f %%", 100*v.Flop/m.Ours.Seconds/(bench.Peak.Flop/m.Peak.Seconds))
		}
		if ok {
			cells[6], cells[10] = peer.Name, fmt.Sprintf("%d / %d", m.Ours.Clean, peer.Clean)
		}
		if m.ratio() > 0 {
			cells[7] = fmt.Sprintf("%.2f", m.ratio())
		}
		if least := runs[0].ratio(); least > 0 && len(runs) > 1 {
			cells[8] = fmt.Sprintf("%.2f to %.2f", least, runs[len(runs)-1].ratio())
		}
		if m.Ours.Clean < r.Rules.Clean || ok && peer.Clean < r.Rules.Clean {
			cells[10] += fmt.Sprintf(" of %d", r.Rules.Clean)
		}
		fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | "))
	}
	if len(r.Memory) > 0 {
		b.WriteString("\n| work, in a fresh process | doob, MB | of it before the work | PyTorch, MB | of it before the work | its variant | ratio | ratio of the rest |\n")
		b.WriteString("|---|---:|---:|---:|---:|---|---:|---:|\n")
		for _, m := range r.Memory {
			cells := []string{m.Name, megabytes(m.Ours.Peak), megabytes(m.Ours.Idle), "—", "—", "—", "—", "—"}
			if p, ok := leanest(m.Peers); ok {
				copy(cells[3:], []string{megabytes(p.Peak), megabytes(p.Idle), p.Name})
				if m.Ours.Peak > 0 {
					cells[6] = fmt.Sprintf("%.2f", float64(m.Ours.Peak)/float64(p.Peak))
					cells[7] = fmt.Sprintf("%.2f", float64(m.Ours.Peak-m.Ours.Idle)/float64(p.Peak-p.Idle))
				}
			}
			fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | "))
		}
	}
	return b.String()
}

// begin and end enclose the tables in a document.
const begin, end = "<!-- bench/peer -->", "<!-- end of bench/peer -->"

// insert puts the tables into a document, in place of those between the two marks. A new file gets nothing else.
func (r *report) insert(path string) error {
	tables := begin + "\n" + r.markdown() + end
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return atomicfile.Write(path, []byte(tables+"\n"))
	}
	if err != nil {
		return err
	}
	before, rest, opened := strings.Cut(string(text), begin)
	_, after, closed := strings.Cut(rest, end)
	if !opened || !closed {
		return fmt.Errorf("%s has no lines %s and %s, between which the tables belong", path, begin, end)
	}
	return atomicfile.Write(path, []byte(before+tables+after))
}

// speed is the duration of an iteration, and how many things a second that makes if the work counts them.
func speed(w bench.Work, t timing) string {
	if t.Clean == 0 || w.Count == 0 {
		return duration(t)
	}
	return fmt.Sprintf("%s, %.3g %s/s", duration(t), float64(w.Count)/t.Seconds, w.Unit)
}

func duration(t timing) string {
	switch s := t.Seconds; {
	case t.Clean == 0:
		return "—"
	case s < 1e-3:
		return fmt.Sprintf("%.3g µs", s*1e6)
	case s < 1:
		return fmt.Sprintf("%.3g ms", s*1e3)
	default:
		return fmt.Sprintf("%.3g s", s)
	}
}

func rate(flop float64, t timing) string {
	if t.Clean == 0 || flop == 0 {
		return "—"
	}
	return fmt.Sprintf("%.0f", flop/t.Seconds/1e9)
}

func megabytes(bytes int64) string {
	if bytes == 0 {
		return "—"
	}
	return fmt.Sprintf("%.0f", float64(bytes)/1e6)
}

// leanest returns the usage of lowest peak among those that worked.
func leanest(usages []usage) (usage, bool) {
	var best usage
	for _, u := range usages {
		if u.Fault == "" && (best.Peak == 0 || u.Peak < best.Peak) {
			best = u
		}
	}
	return best, best.Peak > 0
}
