package reward

import (
	"errors"
	"fmt"
	"math"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/sd"
	"github.com/doob-diffusion/doob/tokenizer"
	"github.com/doob-diffusion/doob/vision"
)

// CLIP says how well a picture fits a text: the cosine of their embeddings (Radford et al. 2021).
type CLIP struct {
	engine   *engine.Engine
	network  sd.CLIP
	modules  sd.Modules
	words    *tokenizer.CLIP
	texts    *engine.Program // ids [1, 77] → [1, Projection]
	pictures *engine.Program // [1, side, side, 3] → [1, Projection]
}

// OpenCLIP loads a CLIPModel from a folder that has its tokenizer too, into a scope of an engine such as "/clip".
func OpenCLIP(e *engine.Engine, scope, dir string) (*CLIP, error) {
	network, weights, err := sd.OpenCLIP(dir)
	if err != nil {
		return nil, err
	}
	words, err := tokenizer.OpenCLIP(dir)
	if err != nil {
		return nil, errors.Join(err, weights.Close())
	}
	if words.Size() > network.Text.Vocabulary {
		err := fmt.Errorf("reward: the tokenizer of %s has ids up to %d, expected fewer than vocab_size, %d", dir, words.Size()-1, network.Text.Vocabulary)
		return nil, errors.Join(err, weights.Close())
	}
	modules, err := weights.Load(e.Scope(scope), nil)
	if err := errors.Join(err, weights.Close()); err != nil {
		return nil, err
	}
	c := &CLIP{engine: e, network: network, modules: modules, words: words}
	if c.texts, err = e.Compile(func(in []*graph.Node) []*graph.Node { return []*graph.Node{network.Texts(modules, in[0])} }); err != nil {
		return nil, fmt.Errorf("reward: %w", err)
	}
	if c.pictures, err = e.Compile(func(in []*graph.Node) []*graph.Node { return []*graph.Node{network.Pictures(modules, in[0])} }); err != nil {
		return nil, fmt.Errorf("reward: %w", err)
	}
	return c, nil
}

// Text returns the embedding of a text, of length 1, and what [tokenizer.Tokens.Warning] says.
func (c *CLIP) Text(text string) (embedding []float32, warning string, err error) {
	tokens := c.words.Encode(text)
	ids := make([]int32, len(tokens.IDs))
	for i, id := range tokens.IDs {
		ids[i] = int32(id)
	}
	embedding, err = c.embed(c.texts, [][]int32{ids})
	return embedding, tokens.Warning(), err
}

// Picture returns the embedding of a picture, of length 1.
func (c *CLIP) Picture(p vision.RGB) ([]float32, error) {
	side := c.network.Picture.Side
	return c.embed(c.pictures, engine.Rows(p.Prepare(side), side, side, 3))
}

func (c *CLIP) embed(program *engine.Program, input any) ([]float32, error) {
	out, err := program.Run(input)
	if err != nil {
		return nil, fmt.Errorf("reward: %w", err)
	}
	embedding := make([]float32, c.network.Projection)
	if err := engine.Floats(embedding, out[0]); err != nil {
		return nil, fmt.Errorf("reward: %w", err)
	}
	return embedding, nil
}

// For returns the reward of pictures [height, width, 3] for a text, and what [tokenizer.Tokens.Warning] says.
func (c *CLIP) For(text string, height, width int) (*Pictured, string, error) {
	embedding, warning, err := c.Text(text)
	if err != nil {
		return nil, "", err
	}
	p, err := newPictured(c.engine, height, width, c.network.Picture.Side, func(x *graph.Node) *graph.Node {
		y := c.network.Pictures(c.modules, x)
		return graph.ReduceSum(graph.Mul(y, graph.InsertAxes(graph.ConstAs(y, embedding), 0)), -1)
	})
	return p, warning, err
}

// Cosine returns the scalar product of two embeddings of length 1.
func Cosine(a, b []float32) (sum float64) {
	for i, v := range a {
		sum += float64(v) * float64(b[i])
	}
	return sum
}

// Diversity returns 1 less the mean cosine over all pairs of embeddings, with its standard error over samples by the jackknife, which is NaN for two; and false
// for fewer. It tells nothing without their number.
func Diversity(embeddings [][]float32) (diversity, se float64, ok bool) {
	n := len(embeddings)
	if n < 2 {
		return 0, 0, false
	}
	own, sum := make([]float64, n), 0.0 // of the pairs that a sample is in, of all
	for i, a := range embeddings {
		for j, b := range embeddings[:i] {
			c := Cosine(a, b)
			own[i], own[j], sum = own[i]+c, own[j]+c, sum+c
		}
	}
	mean := sum / float64(n*(n-1)/2)
	var spread float64
	for _, c := range own { // the mean without a sample
		d := (sum-c)/float64((n-1)*(n-2)/2) - mean
		spread += d * d
	}
	return 1 - mean, math.Sqrt(spread * float64(n-1) / float64(n)), true
}
