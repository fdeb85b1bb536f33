package experiment

import (
	"github.com/doob-diffusion/doob/finetune"
)

// Event is everything that a run tells while it works: the terminal, events.jsonl and the figures read nothing else.
type Event struct {
	Seed  uint64 `json:"seed"`
	Stage string `json:"stage"` // "pretrain", "classifier", or a method's name
	Done  int    `json:"done"`  // of Total steps or iterations; 0 when the stage begins
	Total int    `json:"total"`
	// Loss is set while a network is trained on data.
	Loss *finetune.Number `json:"loss,omitempty"`
	// Iteration is set after each iteration of a fine-tuning method.
	Iteration *finetune.Event `json:"iteration,omitempty"`
	// Result is set once, when a method is finished.
	Result any `json:"result,omitempty"`
}

// Observer receives the events of a run, one at a time.
type Observer func(Event)
