package sd

import (
	"errors"
	"fmt"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/gomlx/gomlx/ml/model"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/lora"
	"github.com/doob-diffusion/doob/tokenizer"
)

// Texts are texts to be encoded, all that a U-Net shall know.
type Texts struct {
	Texts    []string
	Skip     int                    // how many of the encoder's last layers are left out, see [TextEncoder.Apply]
	Adapters []map[string]lora.Pair // of the encoder, such as [lora.Adapter.Text]; pairs that are added up
}

// Encode returns the states of texts as a variable [texts, tokens, Context] of a scope, not to be trained, as [Guided.Texts] takes it, and of every text
// what [tokenizer.Tokens.Warning] says. The text encoder is read, used one text at a time, and dropped.
func (f *Folder) Encode(s *model.Scope, e *engine.Engine, t Texts) (states *model.Variable, warnings []string, err error) {
	tokens, err := f.Tokenizer()
	if err != nil {
		return nil, nil, err
	}
	own := e.Fork()
	defer own.Params.Finalize()
	m, err := f.textModules(own, t.Adapters)
	if err != nil {
		return nil, nil, err
	}
	program, err := own.Compile(func(in []*graph.Node) []*graph.Node { return []*graph.Node{f.Text.Apply(m, in[0], t.Skip)} })
	if err != nil {
		return nil, nil, err
	}
	var all []float32
	for _, text := range t.Texts {
		encoded := tokens.Encode(text)
		warnings = append(warnings, encoded.Warning())
		out, err := program.Run(tensors.FromFlatDataAndDimensions(numbers(encoded), 1, f.Text.Positions))
		if err != nil {
			return nil, nil, fmt.Errorf("text encoder: %w", err)
		}
		row := make([]float32, f.Text.Positions*f.Text.Width)
		if err := engine.Floats(row, out[0]); err != nil {
			return nil, nil, err
		}
		all = append(all, row...)
	}
	states, err = s.CreateVariable("states", tensors.FromFlatDataAndDimensions(all, len(t.Texts), f.Text.Positions, f.Text.Width))
	if err != nil {
		return nil, nil, err
	}
	return states.SetTrainable(false), warnings, nil
}

// textModules reads the text encoder, with what changes it.
func (f *Folder) textModules(e *engine.Engine, adapters []map[string]lora.Pair) (m Modules, err error) {
	w, err := f.TextWeights()
	if err != nil {
		return Modules{}, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	if m, err = w.Load(e.Scope("/text_encoder"), nil); err != nil {
		return Modules{}, fmt.Errorf("text encoder: %w", err)
	}
	return m.Adapted(e.Scope("/text_lora"), f.Text.Tensors(), adapters)
}

func numbers(t tokenizer.Tokens) []int32 {
	ids := make([]int32, len(t.IDs))
	for i, id := range t.IDs {
		ids[i] = int32(id)
	}
	return ids
}

// Adapted returns the modules with the pairs of adapters, whose parameters are created in a scope and not to be trained. Network has the shapes of the
// tensors of all modules. An adapter without pairs changes nothing.
func (m Modules) Adapted(s *model.Scope, network map[string][]int, adapters []map[string]lora.Pair) (Modules, error) {
	for i, pairs := range adapters {
		if len(pairs) == 0 {
			continue
		}
		l, err := LoadLowRank(s.At("%d", i), network, pairs)
		if err != nil {
			return Modules{}, err
		}
		for _, v := range l.Parameters() {
			v.SetTrainable(false)
		}
		m = m.Adding(l.Addition)
	}
	return m, nil
}
