package textimage

import (
	"context"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/report"
	"github.com/doob-diffusion/doob/reward"
)

// size returns the sides of pictures, in pixels.
func (p *Problem) size() (height, width int) {
	factor := p.folder.VAE.Factor()
	return p.latent[0] * factor, p.latent[1] * factor
}

// draw decodes n latents to pictures [n, height, width, 3]. Large ones are decoded one by one.
func (p *Problem) draw(ctx context.Context, x []float32, n int) ([]float32, error) {
	return p.decoder.Map(ctx, x, n, p.together(), p.latent...)
}

// together is how many pictures are decoded at a time.
func (p *Problem) together() int {
	const numbers = 1 << 18 // in one batch of pictures: a decoder takes some kilobytes for each
	height, width := p.size()
	return max(1, min(64, numbers/(3*height*width)))
}

// decoded is such a reward with a gradient. Its graph shows the reward colours without the rounding to 8 bits.
type decoded struct {
	pictured
	net *reward.Pictured
}

var _ reward.Bulky = decoded{}

// Graph implements [reward.Differentiable], for latents [batch, height, width, channels].
func (r decoded) Graph(x *graph.Node) *graph.Node {
	return graph.MulScalar(r.net.Graph(r.folder.VAE.Decode(r.vae, x)), r.scale)
}

// Rows implements [reward.Bulky]: large pictures are decoded one at a time.
func (r decoded) Rows() int { return r.together() }

// Picture implements [experiment.Problem].
func (p *Problem) Picture(path string, x []float32, n, columns int) error {
	pictures, err := p.draw(context.Background(), x, n)
	if err != nil {
		return err
	}
	height, width := p.size()
	return report.ImageGrid(path, pictures, n, height, width, 3, columns)
}
