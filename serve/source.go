package serve

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/experiment/superres"
	"github.com/doob-diffusion/doob/experiment/textimage"
)

// source is a run that is complete, or a model folder.
type source struct {
	Name   string  `json:"name"`
	Offers []offer `json:"offers"` // the kind of a request that does not say it first

	path  string            // of its folder
	model string            // folder of the Stable Diffusion that is generated with
	stamp string            // changes when a run does
	loras map[string]string // their files by their names
}

// offer is what can be asked of a source, of one kind.
type offer struct {
	Kind     string              `json:"kind"`
	Defaults Request             `json:"defaults"`
	Methods  []experiment.Choice `json:"methods,omitempty"`
	Tasks    []experiment.Choice `json:"tasks,omitempty"`
	Numbered bool                `json:"numbered,omitempty"` // the task is the number of a condition, from 0
	LoRAs    []experiment.Choice `json:"loras,omitempty"`
}

// errUnfinished says that a run is not complete.
var errUnfinished = errors.New("the run is not complete")

// source returns one by its name. Of what is no source of that name, found is false.
func (l *collection) source(name string) (s source, found bool, err error) {
	if dir, ok := l.model(name); ok {
		s = source{Name: name, path: dir, model: dir}
		s.generating(l, textimage.Generation{Steps: 50, Guidance: 7.5}, "")
		return s, true, nil
	}
	r, ok := l.find(name)
	if !ok {
		return s, false, nil
	}
	if state := r.State(); state != experiment.Complete {
		return s, true, fmt.Errorf("%w: %s is %s, samples are drawn of runs that have their report", errUnfinished, name, state)
	}
	c, err := r.Choices()
	if err != nil {
		return s, true, err
	}
	p, err := r.Problem()
	if err != nil {
		return s, true, err
	}
	s = source{Name: name, path: l.path(name), stamp: r.Changed().String()}
	o := offer{Kind: sampleKind, Methods: c.Methods, Tasks: c.Tasks, Numbered: c.Numbered}
	o.Defaults = Request{From: name, N: 16, Seed: 1, Steps: c.Steps, Sample: &sampling{Method: c.Methods[0].Name, Strength: 1, Format: "png"}}
	if len(c.Tasks) > 0 {
		o.Defaults.Sample.Task = c.Tasks[0].Name
	}
	s.Offers = append(s.Offers, o)
	switch p := p.(type) {
	case *superres.Problem:
		if c.Methods[0].Name != "base" {
			s.Offers = append(s.Offers, offer{Kind: restoreKind, Defaults: Request{From: name, N: 8, Seed: 1, Steps: c.Steps, Restore: &restoration{}}})
		}
	case *textimage.Problem:
		g, err := p.Generation()
		if err != nil {
			return s, true, err
		}
		s.model = g.Model
		s.generating(l, g, name+"/lora/"+c.Tasks[0].Name) // of the prompt that the form begins with
	}
	return s, true, nil
}

// generating offers pictures from a text, like a first one, and adapters, those whose names begin with own first.
func (s *source) generating(l *collection, g textimage.Generation, own string) {
	o := offer{Kind: generateKind, Defaults: Request{From: s.Name, N: 1, Seed: 1, Steps: g.Steps,
		Generate: &generation{Prompt: g.Prompt, Negative: g.Negative, Guidance: g.Guidance, Eta: g.Eta, Strength: 1}}}
	s.loras = l.loras()
	for name := range s.loras {
		o.LoRAs = append(o.LoRAs, experiment.Choice{Name: name, Title: name})
	}
	slices.SortFunc(o.LoRAs, func(a, b experiment.Choice) int {
		ours := func(c experiment.Choice) int {
			if own != "" && strings.HasPrefix(c.Name, own) {
				return 0
			}
			return 1
		}
		return cmp.Or(ours(a)-ours(b), strings.Compare(a.Name, b.Name))
	})
	if own != "" && len(o.LoRAs) > 0 && strings.HasPrefix(o.LoRAs[0].Name, own) {
		o.Defaults.Generate.LoRA = o.LoRAs[0].Name
	}
	s.Offers = append(s.Offers, o)
}

// offer returns that of a kind; of "" the first one.
func (s source) offer(kind string) (offer, error) {
	var kinds []string
	for _, o := range s.Offers {
		if kind == "" || o.Kind == kind {
			return o, nil
		}
		kinds = append(kinds, o.Kind)
	}
	return offer{}, fmt.Errorf("%w: %s cannot %s, want %s", errRequest, s.Name, kind, strings.Join(kinds, " or "))
}
