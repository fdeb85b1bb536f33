package textimage

import (
	"context"
	"errors"
	"fmt"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/internal/machine"
	"github.com/doob-diffusion/doob/lora"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/sd"
	"github.com/doob-diffusion/doob/vision"
)

// ErrTooLarge says that there is not the memory that drawing takes.
var ErrTooLarge = errors.New("not enough memory")

// Generated says what was drawn.
type Generated struct {
	Files         []string
	Height, Width int // of a picture
	NetworkCalls  int64
}

// Generate draws pictures and writes them. One network after the other is read, used and dropped: the text encoder, the U-Net, which draws one picture
// after the other, and the decoder. It stops with the context's error between two steps.
func Generate(ctx context.Context, g Generation) (*Generated, error) {
	d, err := g.open()
	if err != nil {
		return nil, fmt.Errorf("generate: %w", err)
	}
	e, err := engine.Open(g.Backend)
	if err != nil {
		return nil, err
	}
	if err := d.fits(e); err != nil {
		return nil, fmt.Errorf("generate: %w", err)
	}
	latents, err := d.draw(ctx, e)
	if err != nil {
		return nil, fmt.Errorf("generate: %w", err)
	}
	machine.Free() // or the decoder would come beside what is left of the U-Net
	pictures, err := d.decode(ctx, e, latents)
	if err != nil {
		return nil, fmt.Errorf("generate: %w", err)
	}
	files, err := d.write(pictures)
	return &Generated{Files: files, Height: d.Height, Width: d.Width, NetworkCalls: e.NetworkCalls()}, err
}

func (d *drawing) tell(ev Event) {
	if d.Observe != nil {
		d.Observe(ev)
	}
}

// fits returns an error if there is not the memory that drawing takes.
func (d *drawing) fits(e *engine.Engine) error {
	available, known := machine.Memory()
	too := func(bytes float64) error {
		if !known || bytes <= available {
			return nil
		}
		return fmt.Errorf("%w: it takes about %s, and %s are available; smaller pictures take less, --dry-run tells how much", ErrTooLarge, gigabytes(bytes), gigabytes(available))
	}
	if err := too(2 * 4 * 3 * float64(d.Height) * float64(d.Width)); err != nil { // of a picture and its like, which no plan could be made for
		return err
	}
	plan, err := d.plan(e)
	if err != nil {
		return err
	}
	return too(plan.Memory)
}

// draw returns the latents [N, …]. The U-Net is dropped.
func (d *drawing) draw(ctx context.Context, e *engine.Engine) ([]float32, error) {
	defer e.Params.Finalize()
	s, err := d.sampler(e)
	if err != nil {
		return nil, err
	}
	const stage = "drawing"
	total := d.N * len(d.steps)
	var all []float32
	for i := range d.N { // several at a time would take several times the memory
		paths, err := s.Run(ctx, noise.New(d.Seed), i, 1, func(p *diffusion.Population) error {
			d.tell(Event{Stage: stage, Done: i*len(d.steps) + p.Index, Total: total})
			return nil
		})
		if err != nil {
			return nil, err
		}
		all = append(all, paths.X...)
	}
	d.tell(Event{Stage: stage, Done: total, Total: total})
	return all, nil
}

// sampler encodes the prompts and reads the U-Net.
func (d *drawing) sampler(e *engine.Engine) (*diffusion.Sampler, error) {
	const stage = "reading"
	d.tell(Event{Stage: stage, Total: 2})
	var text, unet []map[string]lora.Pair
	for _, a := range d.adapters {
		text, unet = append(text, a.Text), append(unet, a.UNet)
	}
	states, warnings, err := d.folder.Encode(e.Scope("/texts"), e, sd.Texts{Texts: []string{d.Negative, d.Prompt}, Adapters: text})
	if err != nil {
		return nil, err
	}
	for i, what := range []string{"negative prompt", "prompt"} {
		if warnings[i] != "" {
			d.tell(Event{Warning: what + ": " + warnings[i]})
		}
	}
	d.tell(Event{Stage: stage, Done: 1, Total: 2})
	w, err := d.folder.UNetWeights()
	if err != nil {
		return nil, err
	}
	defer w.Close()
	m, err := w.Load(e.Scope("/unet"), nil)
	if err == nil {
		m, err = m.Adapted(e.Scope("/lora"), d.folder.UNet.Tensors(), unet)
	}
	if err != nil {
		return nil, fmt.Errorf("U-Net: %w", err)
	}
	d.tell(Event{Stage: stage, Done: 2, Total: 2})
	base := sd.Guided{UNet: d.folder.UNet, Modules: m, Prediction: diffusion.Prediction(d.folder.Schedule.Prediction), Scale: d.Guidance, Texts: states}
	return &diffusion.Sampler{Engine: e, Process: d.process, Steps: d.steps, Shape: d.latent, Base: base, Batch: 1}, nil
}

// decode returns the pictures of latents, one after the other. The decoder is dropped.
func (d *drawing) decode(ctx context.Context, of *engine.Engine, latents []float32) ([]vision.RGB, error) {
	e := of.Fork()
	defer e.Params.Finalize()
	w, err := d.folder.VAEWeights()
	if err != nil {
		return nil, err
	}
	defer w.Close()
	vae := d.folder.VAE
	m, err := w.Load(e.Scope("/vae"), vae.Drawing)
	if err != nil {
		return nil, fmt.Errorf("decoder: %w", err)
	}
	program, err := e.Compile(func(in []*graph.Node) []*graph.Node { return []*graph.Node{vae.Decode(m, in[0])} })
	if err != nil {
		return nil, err
	}
	var pictures []vision.RGB
	dim := engine.Size(d.latent)
	for i := range len(latents) / dim {
		d.tell(Event{Stage: "decoding", Done: i, Total: d.N})
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		out, err := program.Run(tensors.FromFlatDataAndDimensions(latents[i*dim:(i+1)*dim], append([]int{1}, d.latent...)...))
		if err != nil {
			return nil, fmt.Errorf("decoder: %w", err)
		}
		x := make([]float32, 3*d.Height*d.Width)
		if err := engine.Floats(x, out[0]); err != nil {
			return nil, err
		}
		for _, v := range x {
			if v-v != 0 {
				return nil, fmt.Errorf("picture %d is not of finite numbers: weights or an adapter are damaged, or the adapter's scale is too large", i+1)
			}
		}
		pictures = append(pictures, vision.FromSample(x, d.Height, d.Width))
	}
	d.tell(Event{Stage: "decoding", Done: d.N, Total: d.N})
	return pictures, nil
}
