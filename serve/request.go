package serve

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Request says what to draw: of one kind, of which the others are nil. What a client leaves out has the value that the source says.
type Request struct {
	From  string `json:"from"`  // a run or model
	N     int    `json:"n"`     // samples
	Seed  uint64 `json:"seed"`  // of the noise
	Steps int    `json:"steps"` // of sampling

	Sample   *sampling    `json:"sample,omitempty"`
	Generate *generation  `json:"generate,omitempty"`
	Restore  *restoration `json:"restore,omitempty"`
}

// sampling draws what a run has learned, as [experiment.Draw] does.
type sampling struct {
	Method   string  `json:"method"`
	Task     string  `json:"task"`
	Strength float64 `json:"strength"` // multiplies h
	Format   string  `json:"format"`   // png or csv
}

// generation draws pictures from a text, as [textimage.Generation] does.
type generation struct {
	Prompt   string  `json:"prompt"`
	Negative string  `json:"negative"`
	Guidance float64 `json:"guidance"`
	Eta      float64 `json:"eta"`
	Height   int     `json:"height"` // pixels; 0 means what the model was trained on
	Width    int     `json:"width"`
	LoRA     string  `json:"lora"`     // its name; "" for none
	Strength float64 `json:"strength"` // multiplies it
}

// restoration restores a picture, as [restore.Restoration] does.
type restoration struct {
	Picture []byte `json:"picture,omitempty"` // of the file; gone once it is drawn
	Measure bool   `json:"measure"`
}

// Kinds of requests.
const (
	sampleKind   = "sample"
	generateKind = "generate"
	restoreKind  = "restore"
)

// Kind returns the one that is not nil; "" if that is not one.
func (r Request) Kind() (kind string) {
	for _, k := range []struct {
		name  string
		there bool
	}{{sampleKind, r.Sample != nil}, {generateKind, r.Generate != nil}, {restoreKind, r.Restore != nil}} {
		if k.there && kind != "" {
			return ""
		}
		if k.there {
			kind = k.name
		}
	}
	return kind
}

// errRequest says that a request cannot be drawn.
var errRequest = errors.New("request")

// strictly decodes one JSON value and nothing else. What the value leaves out stays as it is.
func strictly(text []byte, to any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		return fmt.Errorf("%w: %w", errRequest, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("%w: want one JSON object and nothing behind it", errRequest)
	}
	return nil
}
