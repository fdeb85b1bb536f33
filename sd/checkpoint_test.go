package sd

import (
	"fmt"
	"runtime"
	"slices"
	"testing"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/gomlx/gomlx/ml/model"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/internal/golden"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/noise"
)

// slopes compiles the U-Net's mean square and its gradients with respect to latents, text and some weights of transformers and convolutions.
func slopes(t *testing.T, e *engine.Engine, u UNet, m Modules) *engine.Program {
	t.Helper()
	var weights []*model.Variable
	for _, name := range []string{"conv_in.weight", "down_blocks.0.resnets.0.time_emb_proj.weight", "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight",
		"mid_block.attentions.0.transformer_blocks.0.attn2.to_v.weight", "mid_block.attentions.0.transformer_blocks.0.norm3.weight",
		"up_blocks.1.attentions.0.transformer_blocks.0.ff.net.0.proj.weight", "up_blocks.2.resnets.1.conv1.weight"} {
		v := m.Scope.GetVariable(name)
		if v == nil {
			t.Fatalf("the tiny model has no %s", name)
		}
		weights = append(weights, v)
	}
	program, err := e.Compile(func(in []*graph.Node) []*graph.Node {
		at := slices.Clone(in)
		for _, v := range weights {
			at = append(at, engine.Parameter(v, in[0]))
		}
		y := u.Apply(m, in[0], graph.Const(in[0].Graph(), []int32{481}), in[1])
		return append([]*graph.Node{y}, graph.Gradient(graph.ReduceAllMean(graph.Square(graph.AddScalar(y, -0.3))), at...)...)
	})
	if err != nil {
		t.Fatal(err)
	}
	return program
}

func normals(purpose string, dims ...int) *tensors.Tensor {
	n := 1
	for _, d := range dims {
		n *= d
	}
	x := make([]float32, n)
	noise.New(1).Sub(purpose).Normal(x, 0, 0)
	return tensors.FromFlatDataAndDimensions(x, dims...)
}

// With blocks computed again in the backward pass the result has the same bits, and gradients are the same but for the order in which those of what is
// used several times are added.
func TestCheckpointChangesNothing(t *testing.T) {
	onBackends(t, func(t *testing.T, e *engine.Engine, f *Folder) {
		m := loaded(t, e, nil, f.UNetWeights)
		x, text := normals("latents", 2, 8, 8, 4), normals("text", 2, 77, f.UNet.Context)
		var want [][]float32
		for _, m.Checkpoint = range []bool{false, true} {
			out, err := slopes(t, e, f.UNet, m).Run(x, text)
			if err != nil {
				t.Fatal(err)
			}
			var got [][]float32
			for _, y := range out {
				got = append(got, tensors.MustCopyFlatData[float32](y))
			}
			if want == nil {
				want = got
				continue
			}
			for i := range got {
				if i == 0 && !slices.Equal(got[i], want[i]) {
					t.Error("results differ")
				}
				if !slices.ContainsFunc(got[i], func(v float32) bool { return v != 0 }) {
					t.Errorf("result %d is 0", i)
				}
				oracle.Alike(t, fmt.Sprintf("gradient %d", i), got[i], want[i], 1e-5)
			}
		}
	})
}

// In a batch of 32² latents the activations of a block are much more than what goes in and out.
func TestCheckpointSavesMemory(t *testing.T) {
	f, err := Open(golden.Path("pipeline"))
	if err != nil {
		t.Fatal(err)
	}
	var bytes [2]float64
	for i, checkpoint := range []bool{false, true} {
		e := oracle.Open(t) // each with memory of its own
		m := loaded(t, e, nil, f.UNetWeights)
		m.Checkpoint = checkpoint
		x, text := normals("latents", 16, 32, 32, 4), normals("text", 16, 77, f.UNet.Context)
		before := oracle.Heap()
		program := slopes(t, e, f.UNet, m)
		if _, err := program.Run(x, text); err != nil {
			t.Fatal(err)
		}
		bytes[i] = oracle.Heap() - before
		runtime.KeepAlive(program)
	}
	t.Logf("%.1f MB, with checkpoints %.1f MB", bytes[0]/1e6, bytes[1]/1e6)
	if !(bytes[1] < 0.65*bytes[0]) {
		t.Errorf("gradients take %.1f MB with checkpoints and %.1f MB without: want at most 0.65 of it", bytes[1]/1e6, bytes[0]/1e6)
	}
}
