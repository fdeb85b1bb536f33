package smallworld

import (
	"context"
	"errors"
	"math"
	"path/filepath"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/data/world"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/sd"
	"github.com/doob-diffusion/doob/tokenizer"
)

// Quality says how good the networks in a folder are, on pictures that none of them has seen.
type Quality struct {
	Scale         float64 `json:"latents_scale"`
	PSNR          float64 `json:"autoencoder_psnr_db"`
	Checked       float64 `json:"checker_renders"`         // share of pictures of which the checker is right in everything
	Reconstructed float64 `json:"checker_reconstructions"` // of what the autoencoder makes of them
	Preferred     float64 `json:"preference_better_first"` // share of comparisons in which the view of more worth has the higher score
	HeldOut       float64 `json:"held_out_better_first"`
	Correlation   float64 `json:"preference_correlation"` // of the two preference models' differences of scores
	Slope         float64 `json:"preference_slope"`       // of differences of scores in those of worth: 1 where they are learned as they are
}

// Measure measures the networks in a folder on n pictures and n comparisons.
func Measure(ctx context.Context, e *engine.Engine, dir string, n int) (Quality, error) {
	var q Quality
	key := noise.New(99).Sub("quality")
	return q, errors.Join(q.pictures(ctx, e, dir, key, n), q.preferences(ctx, e, dir, key, n))
}

func (q *Quality) pictures(ctx context.Context, e *engine.Engine, dir string, key noise.Key, n int) error {
	x := make([]float32, n*pixels)
	scenes := make([]world.Scene, n)
	for i := range n {
		_, v, _, _ := world.Comparison(key, i)
		scenes[i] = v.Scene
		v.Scene.Draw(key, i, x[i*pixels:(i+1)*pixels])
	}
	f, err := sd.Open(filepath.Join(dir, "model"))
	if err != nil {
		return err
	}
	program, err := reconstructor(e, f)
	if err != nil {
		return err
	}
	again, err := program.Map(ctx, x, n, 64, world.Side, world.Side, 3)
	if err != nil {
		return err
	}
	var square float64
	for i := range x {
		d := float64(max(-1, min(1, again[i])) - x[i])
		square += d * d / float64(len(x))
	}
	q.Scale, q.PSNR = f.VAE.Scale, 10*math.Log10(4/square)
	checker, err := OpenChecker(e, filepath.Join(dir, "checker", "checker.safetensors"))
	if err != nil {
		return err
	}
	for share, pictures := range map[*float64][]float32{&q.Checked: x, &q.Reconstructed: again} {
		seen, ok, err := checker.Scenes(ctx, pictures, n)
		if err != nil {
			return err
		}
		for i, s := range seen {
			if ok[i] && s.Is(scenes[i]) {
				*share += 1 / float64(n)
			}
		}
	}
	return nil
}

func (q *Quality) preferences(ctx context.Context, e *engine.Engine, dir string, key noise.Key, n int) error {
	const batch = 64
	var leads [2][]float64
	var worth []float64
	for i := range n {
		c, a, b, first := world.Comparison(key, i)
		if !first {
			a, b = b, a
		}
		worth = append(worth, world.Worth(c, a)-world.Worth(c, b))
	}
	for k, name := range []string{"reward", "held-out"} {
		c, w, err := sd.OpenImageReward(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		defer w.Close()
		m, err := w.Load(e.Scope("/quality/"+name), nil)
		if err != nil {
			return err
		}
		words, err := tokenizer.OpenWordPiece(filepath.Join(dir, name, "vocab.txt"), "[DEC]", "[ENC]")
		if err != nil {
			return err
		}
		program, err := e.Compile(func(in []*graph.Node) []*graph.Node {
			return []*graph.Node{c.Score(m, in[0], in[1], in[2])}
		})
		if err != nil {
			return err
		}
		for from := 0; from < n; from += batch {
			if err := ctx.Err(); err != nil {
				return err
			}
			captions, x, _ := comparisons(key, from, batch)
			ids, used := wordIDs(words, captions)
			out, err := program.Run(engine.Rows(x, world.Side, world.Side, 3), ids, used)
			if err != nil {
				return err
			}
			scores := make([]float32, 2*batch)
			if err := engine.Floats(scores, out[0]); err != nil {
				return err
			}
			for i := range min(batch, n-from) {
				leads[k] = append(leads[k], float64(scores[i]-scores[batch+i]))
			}
		}
	}
	var unequal float64
	for i, w := range worth {
		if w == 0 {
			continue
		}
		unequal++
		for k, share := range []*float64{&q.Preferred, &q.HeldOut} {
			if (leads[k][i] > 0) == (w > 0) {
				*share++
			}
		}
	}
	q.Preferred, q.HeldOut = q.Preferred/unequal, q.HeldOut/unequal
	q.Correlation = product(leads[0], leads[1]) / math.Sqrt(product(leads[0], leads[0])*product(leads[1], leads[1]))
	q.Slope = product(leads[0], worth) / product(worth, worth)
	return nil
}

// product is the scalar product. Nothing is taken from differences of scores: a pair and the same pair in the other order are one.
func product(a, b []float64) (sum float64) {
	for i := range a {
		sum += a[i] * b[i]
	}
	return sum
}
