package experiment

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/doob-diffusion/doob/finetune"
)

// Event is everything that a run tells while it works: the terminal, events.jsonl and the figures read nothing else.
type Event struct {
	// Seed, Task and Stage identify a stage of the run.
	Seed  uint64 `json:"seed"`
	Task  string `json:"task,omitempty"` // of MNIST: "single_3", "even"
	Stage string `json:"stage"`          // "pretrain", "classifier", or a method's name
	Done  int    `json:"done"`           // of Total steps or iterations; 0 when the stage begins
	Total int    `json:"total"`
	// Loss is set while a network is trained on data.
	Loss *finetune.Number `json:"loss,omitempty"`
	// Iteration is set after each iteration of a fine-tuning method.
	Iteration *finetune.Event `json:"iteration,omitempty"`
	// Held is set after each iteration of a method that is also judged on paths for measurements it does not learn from, the same
	// with the same noise every time; Done is 0 for the h that it starts with.
	Held *finetune.Diagnostics `json:"held,omitempty"`
	// Result is set once, when a stage is finished. In events that were read from a file it is a [json.RawMessage].
	Result any `json:"result,omitempty"`
}

// Observer receives the events of a run, one at a time.
type Observer func(Event)

// parseEvents reads the lines of events.jsonl, and returns with each event the offset at which its line ends. A last line
// without its end is what a killed process leaves, and is none.
func parseEvents(text []byte) (events []Event, ends []int64, err error) {
	var end int64
	for line := range bytes.Lines(text) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break
		}
		var e struct {
			Event
			Result json.RawMessage `json:"result"`
		}
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, nil, fmt.Errorf("events.jsonl, line %d: %w", len(events)+1, err)
		}
		if e.Result != nil {
			e.Event.Result = e.Result
		}
		end += int64(len(line))
		events, ends = append(events, e.Event), append(ends, end)
	}
	return events, ends, nil
}
