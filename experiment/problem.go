package experiment

import (
	"context"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/doob-diffusion/doob/data"
	"github.com/doob-diffusion/doob/internal/config"
	"github.com/doob-diffusion/doob/method"
	"github.com/doob-diffusion/doob/report"
)

// Problem is what is to be sampled: a prior tilted by a reward, for some tasks, with metrics. Its type embeds [Common], which has
// defaults for all methods but Target, Measure and Metrics. Its exported fields are its configuration; what Prepare makes lies in
// unexported ones.
type Problem interface {
	common() *Common

	// Check notes settings that are out of range.
	Check(c *config.Check)
	// Offers are the needs of methods that targets meet.
	Offers() method.Needs
	// Tasks names the laws to sample. A problem with a single one may leave it without a name: "".
	Tasks() []string
	// GroupOf is the part of the tasks that a task's numbers are averaged with, by its name in JSON and for people; "" if all are one.
	GroupOf(task string) (name, title string)
	// Load reads the data, and settles what is left to it.
	Load() (data.Source, error)
	// Networks are trained on the data before anything else.
	Networks() []Network
	// Prepare makes what targets need of the networks, which are on the lab's engine. It should take little time.
	Prepare(ctx context.Context, l *Lab) error
	// Target describes the law of a task, with the networks of the lab.
	Target(ctx context.Context, l *Lab, task string) (*method.Target, error)
	// Keys says where the randomness of a method comes from, and so what it shares with others. Tasks with the same root share their base paths, and so must
	// have the same base model.
	Keys(seed uint64, task, method string) method.Keys

	// Metrics are all that is measured, in the order of tables.
	Metrics() []Metric
	// References are what the target itself reaches, by task, where it is known. They are asked for before anything is measured.
	References(ctx context.Context, l *Lab) (map[string]Result, error)
	// Measure judges samples. What path weights and counters say is added to it.
	Measure(ctx context.Context, l *Lab, task string, s *method.Samples) (Result, error)

	// Reference names the target itself, for people.
	Reference() string
	// Alike names the places in the report that runs must share for their numbers to compare.
	Alike() []string
	// Describe says what else belongs into the report, by key.
	Describe(l *Lab) map[string]any
	// Title, Notes and Figures are for people: of the report, below its table, and between table and configuration.
	Title() string
	Notes(rep *Report) []string
	Figures(ctx context.Context, l *Lab, rep *Report) ([]report.Section, error)
	// Picture shows samples as a PNG.
	Picture(path string, x []float32, n, columns int) error
}

// Entry makes a kind of problem known under a name.
type Entry struct {
	Name    string
	About   string                 // one line
	New     func() Problem         // with defaults that are not in the presets
	Presets fs.FS                  // presets/NAME.yaml, over presets/defaults.yaml
	Default string                 // preset
	Methods func() []method.Method // that make sense for this problem only; nil for none
}

var entries = map[string]Entry{}

// Register makes a kind of problem known.
func Register(e Entry) { entries[e.Name] = e }

// Entries returns all kinds of problems by name.
func Entries() []Entry {
	var all []Entry
	for _, e := range entries {
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// PresetNames returns the names of the presets, the default first.
func (e Entry) PresetNames() []string {
	files, err := fs.Glob(e.Presets, "presets/*.yaml")
	if err != nil {
		panic(err) // the pattern is constant
	}
	names := []string{e.Default}
	for _, f := range files {
		if name := strings.TrimSuffix(path.Base(f), ".yaml"); name != "defaults" && name != e.Default {
			names = append(names, name)
		}
	}
	return names
}

// find returns a kind of problem.
func find(name string) (Entry, error) {
	e, ok := entries[name]
	if !ok {
		var names []string
		for _, e := range Entries() {
			names = append(names, e.Name)
		}
		return e, fmt.Errorf("%w: there is no experiment %s", config.ErrConfig, config.Unknown(name, names))
	}
	return e, nil
}
