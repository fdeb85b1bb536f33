package experiment

import (
	"fmt"
	"maps"
	"math"

	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/internal/version"
	"github.com/doob-diffusion/doob/method"
)

// book gathers what a run's events say, and so also what those of a run said that is resumed.
type book struct {
	problem      Problem
	results      map[stage]Result
	certificates map[stage]finetune.Certificate
	history      map[stage][]finetune.Event
	held         map[stage][]finetune.Certificate
}

func newBook(p Problem) *book {
	return &book{p, map[stage]Result{}, map[stage]finetune.Certificate{}, map[stage][]finetune.Event{}, map[stage][]finetune.Certificate{}}
}

func (b *book) add(ev Event) {
	at := ev.stage()
	if ev.Iteration != nil { // what was done again counts as it was the last time
		b.history[at] = append(b.history[at][:min(len(b.history[at]), ev.Done-1)], *ev.Iteration)
	}
	if ev.Held != nil {
		b.held[at] = append(b.held[at][:min(len(b.held[at]), ev.Done)], *ev.Held)
	}
	if ev.Result != nil {
		b.results[at] = ev.Result
		delete(b.certificates, at)
		if ev.Certificate != nil {
			b.certificates[at] = *ev.Certificate
		}
	}
}

// Names of what the frame itself adds to results, besides those of path weights.
const trainingPaths, trainingCalls, trainingSeconds = "training_paths", "training_calls", "training_seconds"

// peakMemory is the most memory that the process had while a method worked, in bytes, the networks included. It is measured where a problem has it among its metrics.
const peakMemory = "peak_memory"

// spent returns what a method has cost before it sampled.
func (b *book) spent(at stage) method.Spent {
	r := b.results[at]
	return method.Spent{Paths: int64(r[trainingPaths].Value), Calls: int64(r[trainingCalls].Value), Seconds: r[trainingSeconds].Value}
}

// scales returns what a method has tuned; nil for none.
func (b *book) scales(at stage) (out []float64) {
	if v := b.results[at].value(scaleName(0, 1)); finite(v) {
		return []float64{v}
	}
	for i := 0; ; i++ {
		v := b.results[at].value(scaleName(i, 2))
		if !finite(v) {
			return out
		}
		out = append(out, v)
	}
}

// scaleName is the name in results of one of so many scales, from 0: a single one has no number.
func scaleName(i, n int) string {
	if n == 1 {
		return "scale"
	}
	return fmt.Sprint("scale_", i+1)
}

// mean returns the mean of a method's results over tasks within each seed, and then over so many seeds. The error is that over seeds; of a single
// one, what the results themselves have.
func (b *book) mean(out Result, key string, m Metric, tasks []string, name string, seeds int) {
	values, own := make([]float64, seeds), 0.0
	for i := range values {
		for _, task := range tasks {
			e := b.results[stage{b.problem.common().Seed + uint64(i), task, name}].get(m.Name)
			values[i] += e.Value / float64(len(tasks))
			own = math.Hypot(own, e.SE/float64(len(tasks)))
		}
	}
	if out.add(key, values); seeds == 1 {
		out[key] = Estimate{out[key].Value, own}
	}
	if m.Rare && !finite(out[key].Value) {
		delete(out, key)
	}
}

// report gathers the results of methods in so many seeds.
func (b *book) report(names []string, seeds int, references map[string]Result) *Report {
	c, tasks := b.problem.common(), b.problem.Tasks()
	rep := &Report{Experiment: c.Experiment, Seed: c.Seed, Seeds: seeds, Backend: c.Backend, Version: version.String(), Order: names, Titles: map[string]string{},
		Methods: map[string]Result{}, Verdicts: map[string]*finetune.Verdict{}, TaskVerdicts: map[string]map[string]*finetune.Verdict{}, Tasks: map[string]map[string]Result{}, Reference: b.references(references), Cautions: Cautions(b.problem), problem: b.problem, tasks: tasks}
	b.settle()
	for _, name := range names {
		rep.Titles[name], rep.Methods[name], rep.Verdicts[name] = c.title(name), Result{}, b.verdict(name, tasks, seeds)
		for _, col := range columns(b.problem, tasks) {
			b.mean(rep.Methods[name], col.key, col.Metric, col.tasks, name, seeds)
		}
	}
	for _, task := range tasks {
		if task == "" {
			continue
		}
		rep.Tasks[task], rep.TaskVerdicts[task] = map[string]Result{}, map[string]*finetune.Verdict{}
		for _, name := range names {
			if b.results[stage{c.Seed, task, name}] == nil {
				continue
			}
			rep.Tasks[task][name], rep.TaskVerdicts[task][name] = Result{}, b.verdict(name, []string{task}, seeds)
			for _, m := range metrics(b.problem) {
				b.mean(rep.Tasks[task][name], m.Name, m, []string{task}, name, seeds)
			}
		}
	}
	return rep
}

// references places what the target reaches: of every task, and the means over every group, those of the first one also without its name.
func (b *book) references(byTask map[string]Result) Result {
	out := Result{}
	for _, col := range columns(b.problem, b.problem.Tasks()) {
		var mean Estimate
		for _, task := range col.tasks {
			e := byTask[task].get(col.Name)
			mean.Value += e.Value / float64(len(col.tasks))
			mean.SE = math.Hypot(mean.SE, e.SE/float64(len(col.tasks)))
		}
		out[col.Reference] = mean
		if col.group == 0 && col.key != col.Name {
			out["floor."+col.Name] = mean
		}
	}
	for task, r := range byTask {
		for name, e := range r {
			if task != "" {
				out["floor.tasks."+task+"."+name] = e
			}
		}
	}
	maps.DeleteFunc(out, func(_ string, e Estimate) bool { return !finite(e.Value) })
	return out
}
