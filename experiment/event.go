package experiment

import (
	"encoding/json"
	"fmt"
	"math"

	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/internal/runfolder"
)

// Event is everything that a run tells while it works: the terminal, events.jsonl and the figures read nothing else.
type Event struct {
	// Seed, Task and Stage identify a stage of the run.
	Seed  uint64 `json:"seed"`
	Task  string `json:"task,omitempty"`
	Stage string `json:"stage,omitempty"` // a network's or a method's name
	Done  int    `json:"done"`            // of Total steps or iterations; 0 when the stage begins
	Total int    `json:"total"`
	// Loss is set while a network is trained on data.
	Loss *finetune.Number `json:"loss,omitempty"`
	// Iteration is set after each iteration of a fine-tuning method.
	Iteration *finetune.Event `json:"iteration,omitempty"`
	// Held is set after each iteration of a method that is also judged on paths for conditions it does not learn from, the same
	// with the same noise every time; Done is 0 for the h that it starts with.
	Held *finetune.Certificate `json:"held,omitempty"`
	// Certificate is set with the result of a method, if it has one.
	Certificate *finetune.Certificate `json:"certificate,omitempty"`
	// Result is set once, when a stage is finished, and Settings then is the hash of all settings that it depends on.
	Result   Result `json:"result,omitempty"`
	Settings string `json:"settings,omitempty"`
	// Picture is a file in the run folder, with slashes: samples of what is learned after Done iterations, from the same noise each time, or
	// those of the result.
	Picture string `json:"picture,omitempty"`
	// Config is what the following was made under, and Data the SHA-256 of its data; they stand first, and again where a run was extended.
	Config string `json:"config,omitempty"`
	Data   string `json:"data,omitempty"`
	// Warning tells what went wrong without harm to the results.
	Warning string `json:"warning,omitempty"`

	live  []Metric
	later bool // of a repetition that is not the first
}

// Title names the stage for people, with the seed if it is not the first of the run.
func (ev Event) Title() string {
	title := ev.Stage
	if ev.Task != "" {
		title = ev.Task + " · " + title
	}
	if ev.later {
		title += fmt.Sprintf(" · seed %d", ev.Seed)
	}
	return title
}

// Fields returns what an event has to show while the run works: names and values.
func (ev Event) Fields() (fields [][2]string) {
	add := func(name string, v float64) {
		text := "—"
		if !math.IsNaN(v) {
			text = signed(fmt.Sprintf("%.3g", v))
		}
		fields = append(fields, [2]string{name, text})
	}
	if ev.Loss != nil {
		add("loss", float64(*ev.Loss))
	}
	doubt := func(certain bool) {
		if !certain {
			fields[len(fields)-1][1] += doubted
		}
	}
	if it := ev.Iteration; it != nil {
		add("KL", float64(it.KL))
		doubt(it.KLReliable)
		add("ESS", float64(it.ESS))
		doubt(it.Reliable)
		add("acceptance", it.Acceptance)
		if it.Dropped {
			fields[len(fields)-1][1] += " (dropped)"
		}
		add("reward", float64(it.Reward))
		add("loss", it.Loss)
	}
	if h := ev.Held; h != nil {
		add("L_SC", float64(h.LSC))
		add("KL", float64(h.KL))
		doubt(h.KLReliable)
		add("reward", float64(h.Reward))
	}
	if ev.Result.value("stored") == 1 {
		fields = append(fields, [2]string{"from", "store"})
	}
	if f := ev.Result.value(factorName); finite(f) {
		add("reward ×", f)
	}
	for _, m := range ev.live {
		if e, ok := ev.Result[m.Name]; ok {
			fields = append(fields, [2]string{m.Title, m.Text(Estimate{e.Value, math.NaN()})})
			if ev.Certificate != nil {
				doubt(!doubts(ev.Certificate.Verdict, m.Name))
			}
		}
	}
	return fields
}

// stage identifies a part of a run that ends with a result.
type stage struct {
	seed       uint64
	task, name string
}

func (ev Event) stage() stage { return stage{ev.Seed, ev.Task, ev.Stage} }

// parse reads lines of events.jsonl.
func parse(lines []runfolder.Line) ([]Event, error) {
	events := make([]Event, len(lines))
	for i, l := range lines {
		if err := json.Unmarshal(l.Text, &events[i]); err != nil {
			return nil, fmt.Errorf("events.jsonl, line %d: %w", i+1, err)
		}
	}
	return events, nil
}
