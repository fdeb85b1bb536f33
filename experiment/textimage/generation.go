// Package textimage is the text-to-image experiment of the paper (section 4.4, C.4, Table 2): a low-rank adapter of Stable Diffusion is fine-tuned toward what people
// prefer. And it draws pictures from texts, see [Generate].
package textimage

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/lora"
	"github.com/doob-diffusion/doob/sd"
)

// Generation says what to draw. Model and Prompt are required, and N, Steps and Out.
type Generation struct {
	Model    string // a folder in the layout of diffusers, see package sd
	Prompt   string
	Negative string // what to guide away from; "" means the empty text
	N        int    // pictures; picture i depends on the seed and i, and not on N
	Steps    int
	Eta      float64 // of DDIM: 0 adds no noise, 1 all that the process has
	Guidance float64 // at most 1 for none
	Adapters []Adapter
	// Height and Width are those of a picture in pixels; 0 means the size that the model was trained on.
	Height, Width int
	Seed          uint64
	Out           string // PNG of all pictures, or with %d in its name one for each
	Backend       string // see [engine.Open]
	Observe       func(Event)
}

// Event tells how far the work is, or what the user should know.
type Event struct {
	Stage       string
	Done, Total int
	Warning     string
}

// Adapter is a low-rank adapter and how much of it is added, see [lora.ParseScaled].
type Adapter struct {
	Path  string
	Scale float64
}

// ParseSize reads WIDTHxHEIGHT, in pixels.
func ParseSize(s string) (height, width int, err error) {
	w, h, ok := strings.Cut(s, "x")
	if ok {
		width, err = strconv.Atoi(w)
	}
	if ok && err == nil {
		height, err = strconv.Atoi(h)
	}
	if !ok || err != nil || height < 1 || width < 1 {
		return 0, 0, fmt.Errorf("size %q: want WIDTHxHEIGHT in pixels, such as 512x512", s)
	}
	return height, width, nil
}

// drawing is a request that was checked, with the model's configuration and adapters.
type drawing struct {
	Generation
	folder   *sd.Folder
	process  *diffusion.Discrete
	steps    []diffusion.Step
	adapters []lora.Adapter // with their scales
	latent   []int          // shape of one
}

// open checks a request, and reads what is small.
func (g Generation) open() (*drawing, error) {
	d := &drawing{Generation: g}
	if g.N < 1 {
		return nil, fmt.Errorf("%d pictures: want at least 1", g.N)
	}
	if !(g.Guidance >= 0) || math.IsInf(g.Guidance, 1) {
		return nil, fmt.Errorf("guidance %g: want a number from 0 on; up to 1 there is none", g.Guidance)
	}
	if g.Negative != "" && g.Guidance <= 1 {
		return nil, fmt.Errorf("a negative prompt without guidance has no effect: want guidance above 1, got %g", g.Guidance)
	}
	if err := checkOut(g.Out, g.N); err != nil {
		return nil, err
	}
	var err error
	if d.folder, err = sd.Open(g.Model); err != nil {
		return nil, err
	}
	if err := d.size(); err != nil {
		return nil, err
	}
	if d.process, err = d.folder.Schedule.Process(); err != nil {
		return nil, err
	}
	kernel := diffusion.Numbered{Eta: g.Eta, Offset: 1, Steps: g.Steps, ToData: d.folder.Schedule.AlphaToOne}
	if d.steps, err = kernel.Table(d.process); err != nil {
		return nil, err
	}
	for _, a := range g.Adapters {
		loaded, _, err := lora.Load(a.Path, lora.Model{UNet: d.folder.UNet.Tensors(), Text: d.folder.Text.Tensors()})
		if err != nil {
			return nil, err
		}
		d.adapters = append(d.adapters, loaded.Scaled(a.Scale))
	}
	return d, nil
}

// size completes and checks the size of pictures.
func (d *drawing) size() error {
	factor, side := d.folder.VAE.Factor(), d.folder.UNet.Side
	if side == 0 {
		side = 64
	}
	if d.Height == 0 && d.Width == 0 {
		d.Height, d.Width = side*factor, side*factor
	}
	nearest := func(n int) int { return max(1, int(math.Round(float64(n)/float64(factor)))) * factor }
	if h, w := nearest(d.Height), nearest(d.Width); h != d.Height || w != d.Width {
		return fmt.Errorf("size %dx%d: this model draws sides that are multiples of %d: the nearest size is %dx%d", d.Width, d.Height, factor, w, h)
	}
	d.latent = []int{d.Height / factor, d.Width / factor, d.folder.UNet.Channels}
	return nil
}
