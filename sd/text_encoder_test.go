package sd

import (
	"strings"
	"testing"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/internal/oracle"
)

func TestTextEncoder(t *testing.T) {
	onBackends(t, func(t *testing.T, e *engine.Engine, f *Folder) {
		g := read(t, "text/encoder.safetensors")
		m := loaded(t, e, nil, f.TextWeights)
		late := f.Text
		late.EOS = 748 // what files say today
		exact := f.Text
		exact.QuickGELU = false
		layers := []string{"embeddings", "encoder.layers.0", "encoder.layers.1"}
		out := oracle.RunOn(t, e, func(in []*graph.Node) []*graph.Node {
			ids, first := in[0], graph.SliceAxis(in[0], 0, graph.AxisRange(0, 1))
			states := f.Text.Apply(m, ids, 0)
			out := []*graph.Node{states, f.Text.Pooled(ids, states), late.Pooled(ids, states), exact.Apply(m, ids, 0), f.Text.Apply(m, first, 1)}
			inside := m
			seen := map[string]*graph.Node{}
			inside.watch = func(name string, y *graph.Node) { seen[name] = y }
			f.Text.Apply(inside, first, 0)
			for _, name := range layers {
				out = append(out, seen[name])
			}
			return out
		}, g.input("input_ids"))
		var worst float64
		for i, name := range []string{"last_hidden_state", "pooler_output", "pooler_output", "gelu.last_hidden_state", "clip_skip_1", "hidden_states.0", "hidden_states.1", "hidden_states.2"} {
			worst = max(worst, oracle.Alike(t, name, out[i], g.get(name).F32, forward))
		}
		t.Logf("off by at most %.1e of the largest entry", worst)
	})
}

// No state depends on a later token, and padding counts as a token.
func TestTextEncoderIsCausal(t *testing.T) {
	onBackends(t, func(t *testing.T, e *engine.Engine, f *Folder) {
		m := loaded(t, e, nil, f.TextWeights)
		const changed = 40
		ids := make([][]int32, 2)
		for i := range ids {
			ids[i] = make([]int32, f.Text.Positions)
			for j := range ids[i] {
				ids[i][j] = int32(7 * j)
			}
		}
		ids[1][changed]++
		states := oracle.RunOn(t, e, func(in []*graph.Node) []*graph.Node { return []*graph.Node{f.Text.Apply(m, in[0], 0)} }, ids)[0]
		half, width := len(states)/2, f.Text.Width
		for p := range f.Text.Positions {
			var differ bool
			for j := p * width; j < (p+1)*width; j++ {
				differ = differ || states[j] != states[half+j]
			}
			if differ != (p >= changed) {
				t.Errorf("with another token at %d, the state at %d differs: %t", changed, p, differ)
			}
		}
	})
}

func TestTextEncoderErrors(t *testing.T) {
	e := oracle.Open(t)
	text := TextEncoder{Positions: 77, Layers: 3}
	for _, c := range []struct {
		want   string
		tokens int
		skip   int
	}{{"[batch, 77]", 76, 0}, {"0 to 3", 77, 4}, {"0 to 3", 77, -1}, {"embeddings.token_embedding.weight", 77, 0}} {
		program, err := e.Compile(func(in []*graph.Node) []*graph.Node {
			return []*graph.Node{text.Apply(Modules{Scope: e.Scope("/nothing")}, in[0], c.skip)}
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := program.Run([][]int32{make([]int32, c.tokens)}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%d tokens, skip %d: error %v, want %q in it", c.tokens, c.skip, err, c.want)
		}
	}
}
