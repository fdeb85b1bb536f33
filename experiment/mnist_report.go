package experiment

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/metric"
	"github.com/doob-diffusion/doob/report"
)

// MNISTReport is report.json.
type MNISTReport struct {
	Experiment         string                             `json:"experiment"`
	Data               string                             `json:"data"` // mnist or digits
	Seed               uint64                             `json:"seed"`
	Seeds              int                                `json:"seeds"`
	Backend            string                             `json:"backend"`
	Version            string                             `json:"version"`
	Tasks              map[string]map[string]*MNISTResult `json:"tasks"`               // by task, then method: mean over the seeds
	Methods            map[string]*MNISTMethod            `json:"methods"`             // Table 1
	Floor              MNISTFloor                         `json:"floor"`               // what real images reach
	ClassifierAccuracy finetune.Number                    `json:"classifier_accuracy"` // of the reward's, on the test images
	JudgeAccuracy      finetune.Number                    `json:"judge_accuracy"`      // of the second one, trained on other seeds
	Seconds            float64                            `json:"seconds"`             // of the last process, if the run was resumed
}

// MNISTMetrics are the metrics of one set of samples.
type MNISTMetrics struct {
	Reward    finetune.Number `json:"reward"`    // mean over the samples
	FID       finetune.Number `json:"fid"`       // of the classifier's features, against the class's test images
	Accuracy  finetune.Number `json:"accuracy"`  // share that the second classifier takes for the class
	Diversity finetune.Number `json:"diversity"` // 1 − mean pairwise cosine of the features
}

// MNISTColumn is one of the two columns of Table 1: mean over its tasks and the seeds, standard error over the seeds.
type MNISTColumn struct {
	MNISTMetrics
	SE *MNISTMetrics `json:"se,omitempty"` // nil for a single seed
}

// MNISTResult is what one method reached on one task.
type MNISTResult struct {
	MNISTMetrics
	ESSFraction  finetune.Number `json:"ess_fraction"`    // of the paths behind the samples; absent where they have no weights
	KL           finetune.Number `json:"kl"`              // of KL(P^h‖P_tilted)
	Scale        float64         `json:"scale,omitempty"` // of guidance or amplification, as tuned
	Paths        int64           `json:"paths"`
	NetworkCalls int64           `json:"network_calls"`
	Seconds      float64         `json:"seconds"`
}

// MNISTMethod is one method's line of Table 1. Paths, calls and seconds are means per task.
type MNISTMethod struct {
	Single       *MNISTColumn    `json:"single,omitempty"`
	EvenOdd      *MNISTColumn    `json:"even_odd,omitempty"`
	ESSFraction  finetune.Number `json:"ess_fraction"`
	KL           finetune.Number `json:"kl"`
	Paths        finetune.Number `json:"paths"`
	NetworkCalls finetune.Number `json:"network_calls"`
	Seconds      finetune.Number `json:"seconds"`
}

// MNISTFloor are the metrics of real images: as many training images as a method draws samples, against the test images.
type MNISTFloor struct {
	FID     finetune.Number         `json:"fid"` // of the single classes
	Single  *MNISTMetrics           `json:"single,omitempty"`
	EvenOdd *MNISTMetrics           `json:"even_odd,omitempty"`
	Tasks   map[string]MNISTMetrics `json:"tasks"`
}

// mnistBook gathers what a run's events say, and so also what those of a run said that is resumed.
type mnistBook struct {
	m                 *MNIST
	results           map[[2]string][]seedResult // by task and method
	history           map[[2]string][]finetune.Event
	floor             map[string]MNISTMetrics
	classifier, judge float64
}

type seedResult struct {
	seed uint64
	*MNISTResult
}

func newMNISTBook(m *MNIST) *mnistBook {
	return &mnistBook{m: m, results: map[[2]string][]seedResult{}, history: map[[2]string][]finetune.Event{}, floor: map[string]MNISTMetrics{}}
}

func (b *mnistBook) add(ev Event) {
	at := [2]string{ev.Task, ev.Stage}
	if ev.Iteration != nil && ev.Seed == b.m.Seed {
		b.history[at] = append(b.history[at], *ev.Iteration)
	}
	if r, ok := ev.Result.(*MNISTResult); ok {
		b.results[at] = append(b.results[at], seedResult{ev.Seed, r})
	}
}

// result returns that of a method which has ended.
func (b *mnistBook) result(seed uint64, task, method string) *MNISTResult {
	for _, r := range b.results[[2]string{task, method}] {
		if r.seed == seed {
			return r.MNISTResult
		}
	}
	panic(fmt.Sprintf("experiment: %s of %s has not ended", method, task))
}

func (b *mnistBook) report(r *mnistRun) *MNISTReport {
	rep := &MNISTReport{Experiment: "mnist", Data: b.m.Data, Seed: b.m.Seed, Seeds: b.m.Seeds, Backend: r.engine.Name, Version: Version(),
		Tasks: map[string]map[string]*MNISTResult{}, Methods: map[string]*MNISTMethod{},
		ClassifierAccuracy: finetune.Number(b.classifier), JudgeAccuracy: finetune.Number(b.judge)}
	for _, task := range b.m.Tasks {
		rep.Tasks[task] = map[string]*MNISTResult{}
		for _, method := range b.m.Methods {
			rep.Tasks[task][method] = b.mean(task, method)
		}
	}
	single, evenOdd := b.m.columns()
	for _, method := range b.m.Methods {
		rep.Methods[method] = &MNISTMethod{Single: b.column(single, method), EvenOdd: b.column(evenOdd, method),
			ESSFraction:  b.average(method, func(r *MNISTResult) finetune.Number { return r.ESSFraction }),
			KL:           b.average(method, func(r *MNISTResult) finetune.Number { return r.KL }),
			Paths:        b.average(method, func(r *MNISTResult) finetune.Number { return finetune.Number(r.Paths) }),
			NetworkCalls: b.average(method, func(r *MNISTResult) finetune.Number { return finetune.Number(r.NetworkCalls) }),
			Seconds:      b.average(method, func(r *MNISTResult) finetune.Number { return finetune.Number(r.Seconds) })}
	}
	rep.Floor = MNISTFloor{FID: nan, Single: b.floorOf(single), EvenOdd: b.floorOf(evenOdd), Tasks: b.floor}
	if rep.Floor.Single != nil {
		rep.Floor.FID = rep.Floor.Single.FID
	}
	return rep
}

// columns splits the tasks into the two columns of Table 1.
func (m *MNIST) columns() (single, evenOdd []string) {
	for _, t := range m.Tasks {
		if len(classes(t)) == 1 {
			single = append(single, t)
		} else {
			evenOdd = append(evenOdd, t)
		}
	}
	return single, evenOdd
}

// numbers lists the metrics, to treat them all alike.
func (m *MNISTMetrics) numbers() []*finetune.Number {
	return []*finetune.Number{&m.Reward, &m.FID, &m.Accuracy, &m.Diversity}
}

// mean averages a method's results on a task over the seeds.
func (b *mnistBook) mean(task, method string) *MNISTResult {
	results := b.results[[2]string{task, method}]
	out := &MNISTResult{ESSFraction: over(results, func(r *MNISTResult) finetune.Number { return r.ESSFraction }),
		KL:           over(results, func(r *MNISTResult) finetune.Number { return r.KL }),
		Scale:        float64(over(results, func(r *MNISTResult) finetune.Number { return finetune.Number(r.Scale) })),
		Paths:        int64(over(results, func(r *MNISTResult) finetune.Number { return finetune.Number(r.Paths) })),
		NetworkCalls: int64(over(results, func(r *MNISTResult) finetune.Number { return finetune.Number(r.NetworkCalls) })),
		Seconds:      float64(over(results, func(r *MNISTResult) finetune.Number { return finetune.Number(r.Seconds) }))}
	for i, target := range out.MNISTMetrics.numbers() {
		*target = over(results, func(r *MNISTResult) finetune.Number { return *r.numbers()[i] })
	}
	return out
}

func over(results []seedResult, value func(*MNISTResult) finetune.Number) finetune.Number {
	var sum float64
	for _, r := range results {
		sum += float64(value(r.MNISTResult))
	}
	return finetune.Number(sum / float64(len(results)))
}

// average is the mean over all tasks and seeds.
func (b *mnistBook) average(method string, value func(*MNISTResult) finetune.Number) finetune.Number {
	var sum float64
	for _, task := range b.m.Tasks {
		sum += float64(over(b.results[[2]string{task, method}], value))
	}
	return finetune.Number(sum / float64(len(b.m.Tasks)))
}

// column averages over tasks within each seed, then over the seeds, whose spread is the standard error.
func (b *mnistBook) column(tasks []string, method string) *MNISTColumn {
	if len(tasks) == 0 {
		return nil
	}
	out := &MNISTColumn{}
	if b.m.Seeds > 1 {
		out.SE = &MNISTMetrics{}
	}
	for i, target := range out.MNISTMetrics.numbers() {
		bySeed := make([]float64, b.m.Seeds)
		for _, task := range tasks {
			for _, r := range b.results[[2]string{task, method}] {
				bySeed[r.seed-b.m.Seed] += float64(*r.numbers()[i]) / float64(len(tasks))
			}
		}
		mean, se := metric.MeanSE(bySeed)
		*target = finetune.Number(mean)
		if out.SE != nil {
			*out.SE.numbers()[i] = finetune.Number(se)
		}
	}
	return out
}

// floorOf averages what real images reach on some tasks.
func (b *mnistBook) floorOf(tasks []string) *MNISTMetrics {
	if len(tasks) == 0 {
		return nil
	}
	out := &MNISTMetrics{}
	for _, task := range tasks {
		floor := b.floor[task]
		for i, target := range out.numbers() {
			*target += *floor.numbers()[i] / finetune.Number(len(tasks))
		}
	}
	return out
}

// Table is Table 1, for people: one block of rows for each of its columns.
func (rep *MNISTReport) Table() report.Table {
	t := report.Table{Columns: []report.Column{{Name: "tasks"}, {Name: "method"}}}
	for _, name := range []string{"reward", "FID", "accuracy", "diversity", "ESS", "KL", "paths", "calls", "minutes"} {
		t.Columns = append(t.Columns, report.Column{Name: name, Right: true})
	}
	for i, block := range []struct {
		name   string
		column func(*MNISTMethod) *MNISTColumn
		floor  *MNISTMetrics
	}{
		{"single", func(m *MNISTMethod) *MNISTColumn { return m.Single }, rep.Floor.Single},
		{"even/odd", func(m *MNISTMethod) *MNISTColumn { return m.EvenOdd }, rep.Floor.EvenOdd},
	} {
		if block.floor == nil {
			continue
		}
		for _, name := range rep.order() {
			m := rep.Methods[name]
			title, ok := mnistTitles[name]
			if !ok {
				title = name
			}
			row := []string{block.name, title}
			c := block.column(m)
			for k, f := range mnistFormats {
				cell := f(*c.numbers()[k])
				if c.SE != nil {
					cell += " ± " + strings.TrimSuffix(f(*c.SE.numbers()[k]), " %")
				}
				row = append(row, cell)
			}
			if i > 0 && rep.Floor.Single != nil { // they are those of all tasks
				t.Rows = append(t.Rows, append(row, "", "", "", "", ""))
				continue
			}
			t.Rows = append(t.Rows, append(row, fixed(3)(m.ESSFraction), fixed(2)(m.KL), metricCount(float64(m.Paths)),
				metricCount(float64(m.NetworkCalls)), fixed(2)(m.Seconds/60)))
		}
		row := []string{block.name, "Real images"}
		for k, f := range mnistFormats {
			row = append(row, f(*block.floor.numbers()[k]))
		}
		t.Rows = append(t.Rows, append(row, "", "", "", "", ""))
	}
	t.Notes = []string{fmt.Sprintf("Accuracy is what a second classifier (%.2f %% on test images) says; reward and features are those of the first (%.2f %%).",
		100*float64(rep.JudgeAccuracy), 100*float64(rep.ClassifierAccuracy)),
		"FID is against the test images; real images are as many training images. ESS to minutes are means over all tasks."}
	if _, ok := rep.Methods["resampled"]; ok {
		t.Notes = append(t.Notes, "Base model, resampled: base samples drawn again in proportion to exp(r), the tilted law itself if there are many.")
	}
	if _, ok := rep.Methods["importance_rejection"]; ok {
		t.Notes = append(t.Notes, "Importance + rejection: paths of the h that importance learned, of which a share is kept by their weights (14).")
	}
	if rep.Seeds > 1 {
		t.Notes = append(t.Notes, fmt.Sprintf("Mean over the tasks ± standard error over %d seeds of fine-tuning and sampling.", rep.Seeds))
	}
	return t
}

var mnistFormats = []func(finetune.Number) string{fixed(2), fixed(3),
	func(v finetune.Number) string { return fmt.Sprintf("%.1f %%", 100*float64(v)) }, fixed(3)}

func fixed(decimals int) func(finetune.Number) string {
	return func(v finetune.Number) string {
		if math.IsNaN(float64(v)) {
			return "—"
		}
		return signed(fmt.Sprintf("%.*f", decimals, float64(v)))
	}
}

// order returns the methods in the order of the report, variants after all others.
func (rep *MNISTReport) order() []string {
	names := slices.Collect(maps.Keys(rep.Methods))
	slices.SortFunc(names, func(a, b string) int {
		rank := func(name string) int {
			if i := slices.Index(mnistMethods, name); i >= 0 {
				return i
			}
			return len(mnistMethods)
		}
		return cmp.Or(rank(a)-rank(b), strings.Compare(a, b))
	})
	return names
}
