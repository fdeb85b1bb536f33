package htransform

import (
	"fmt"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/ml/model"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/lora"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/sd"
)

// LoRA is what a low-rank adapter changes of a guided U-Net,
//
//	ε_h = ε_tuned − ε_θ
//
// with the same guidance in both, so that the adapter acts on both halves: ε_h = (1−g)·h_∅ + g·h_c. The U-Net's own parameters are those of the base
// model, not a copy of them, and ε_θ is that of the [diffusion.State]. With B = 0, as a new adapter has it, h = 0 exactly.
//
// The loss (15) of this h is ‖ε_tuned − ε‖², as if the guided model was trained. A learned h is an adapter like any other, see [LoRA.Adapter].
type LoRA struct {
	Base sd.Guided  // the base model of the sampler
	Low  sd.LowRank // what is learned
}

var _ Guided = LoRA{}

// LoRASettings say what an adapter changes. The zero value but for Rank changes all attention layers.
type LoRASettings struct {
	Rank    int      `yaml:"rank"`
	Targets []string `yaml:"targets,omitempty"` // ends of the names of modules; none means sd.AttentionMaps
}

// New creates the adapter with its parameters in a scope, of a random start: [Path] for what a sampler is guided by.
func (s LoRASettings) New(scope *model.Scope, base sd.Guided, key noise.Key) (LoRA, error) {
	low, err := sd.NewLowRank(scope, base.UNet.Tensors(), s.Rank, s.targets(), key.Sub(Path))
	if err != nil {
		return LoRA{}, fmt.Errorf("htransform: %w", err)
	}
	return LoRA{Base: base, Low: low}, nil
}

// In returns the adapter whose parameters [LoRASettings.New] has created in a scope.
func (s LoRASettings) In(scope *model.Scope, base sd.Guided) (LoRA, error) {
	low, err := sd.LowRankOf(scope, base.UNet.Tensors(), s.targets())
	if err != nil {
		return LoRA{}, fmt.Errorf("htransform: %w", err)
	}
	return LoRA{Base: base, Low: low}, nil
}

func (s LoRASettings) targets() []string {
	if len(s.Targets) == 0 {
		return sd.AttentionMaps
	}
	return s.Targets
}

// NewLoRA creates the h that an adapter is, with its parameters below [Path], to be learned further or sampled. Maps of the text encoder are refused: they
// are no part of h, which acts between the same states of texts as the base model.
func NewLoRA(e *engine.Engine, base sd.Guided, a lora.Adapter) (LoRA, error) {
	if len(a.Text) > 0 {
		return LoRA{}, fmt.Errorf("htransform: %w: it changes %d maps of the text encoder, and h only those of the U-Net", lora.ErrUnsupported, len(a.Text))
	}
	low, err := sd.LoadLowRank(e.Scope(Path), base.UNet.Tensors(), a.UNet)
	if err != nil {
		return LoRA{}, fmt.Errorf("htransform: %w", err)
	}
	return LoRA{Base: base, Low: low}, nil
}

// Noise implements [diffusion.Control].
func (h LoRA) Noise(s diffusion.State) *graph.Node { return h.adding(s, h.Low.Addition) }

// adding returns what an addition to the U-Net's maps changes.
func (h LoRA) adding(s diffusion.State, addition func(module string, x *graph.Node) *graph.Node) *graph.Node {
	engine.CountCall(s.X)
	tuned := h.Base
	tuned.Modules = tuned.Modules.Adding(addition)
	return graph.Sub(tuned.Noise(s), s.Eps)
}

// Unguided implements [Guided]: h_c, the change of the prediction for the text alone.
func (h LoRA) Unguided() Learned {
	h.Base.Scale = 0
	return h
}

// Parameters implements [Learned].
func (h LoRA) Parameters() []*model.Variable { return h.Low.Parameters() }

// Within implements [Learned].
func (h LoRA) Within(place func(*model.Scope) *model.Scope) Learned {
	h.Low = h.Low.Within(place)
	return h
}

// Adapter returns what was learned, to be saved: alpha is the rank.
func (h LoRA) Adapter() (lora.Adapter, error) {
	pairs, err := h.Low.Pairs()
	if err != nil {
		return lora.Adapter{}, fmt.Errorf("htransform: %w", err)
	}
	return lora.Adapter{UNet: pairs}, nil
}
