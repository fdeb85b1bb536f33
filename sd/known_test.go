package sd

import (
	"strings"
	"testing"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/lora"
)

// The sizes of the published models.
func TestKnown(t *testing.T) {
	for i, want := range [][2]int{{859_520_964, 123_060_480}, {865_910_724, 340_387_840}} {
		f := Known()[i]
		var got [2]int
		for j, tensors := range []map[string][]int{f.UNet.Tensors(), f.Text.Tensors()} {
			for _, shape := range tensors {
				got[j] += engine.Size(shape)
			}
		}
		if got != want {
			t.Errorf("model %d has %d parameters, want %d", i, got, want)
		}
	}
}

// All attention of SD 1.5 at rank 4, by the numbers that PEFT gives.
func TestParametersOfAdapter(t *testing.T) {
	a := lora.Adapter{UNet: map[string]lora.Pair{}}
	for name, shape := range Known()[0].UNet.Tensors() {
		module, ok := strings.CutSuffix(name, ".weight")
		for _, target := range []string{".to_q", ".to_k", ".to_v", ".to_out.0"} {
			if ok && strings.HasSuffix(module, target) {
				a.UNet[module] = lora.Pair{Rank: 4, In: shape[1], Out: shape[0]}
			}
		}
	}
	if len(a.UNet) != 128 || a.Parameters() != 797_184 {
		t.Errorf("%d pairs of %d parameters, want 128 of 797184", len(a.UNet), a.Parameters())
	}
}
