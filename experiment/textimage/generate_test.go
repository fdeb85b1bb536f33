package textimage

import (
	"context"
	"errors"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/internal/golden"
	"github.com/doob-diffusion/doob/internal/machine"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/vision"
)

const rabbit = "A green colored rabbit."

// request is one that the goldens were made by, but for the noise.
func request(t testing.TB) Generation {
	return Generation{Model: golden.Path("pipeline"), Prompt: rabbit, N: 1, Steps: 5, Guidance: 7.5, Seed: 1, Out: filepath.Join(t.TempDir(), "out.png")}
}

func picture(t testing.TB, path string) vision.RGB {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m, err := png.Decode(f)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return vision.FromImage(m)
}

// drawn is the picture of a request that starts from latents in the layout [channels, height, width] of others.
func drawn(t *testing.T, g Generation, start []float32) vision.RGB {
	t.Helper()
	d, err := g.open()
	if err != nil {
		t.Fatal(err)
	}
	e := oracle.Open(t)
	s, err := d.sampler(e)
	if err != nil {
		t.Fatal(err)
	}
	// A step that goes nowhere, at which the start is put in the place of our own noise.
	s.Steps = append([]diffusion.Step{{T: 1, Next: 1, A: 1, Uncontrolled: true}}, s.Steps...)
	channels := d.latent[2]
	paths, err := s.Run(t.Context(), noise.New(1), 0, 1, func(p *diffusion.Population) error {
		for j := range p.X {
			if p.Index == 0 {
				p.X[j] = start[j%channels*(len(p.X)/channels)+j/channels]
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	pictures, err := d.decode(t.Context(), e, paths.X)
	if err != nil {
		t.Fatal(err)
	}
	return pictures[0]
}

// From the same noise, the pictures are those of the pipeline of diffusers in all their 8 bits, but for a few bytes that are rounded the other way: float32 in
// the reference moves as many between instruction sets.
func TestPicturesOfThePipeline(t *testing.T) {
	f, err := checkpoint.Load(golden.Path("images/images.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	for i, prompt := range []string{rabbit, "Two roses in a vase."} {
		for _, adapted := range []bool{false, true} {
			g := request(t)
			g.Prompt = prompt
			if adapted {
				g.Adapters = []Adapter{{golden.Path("lora/kohya/lora.safetensors"), 1}}
			}
			got := drawn(t, g, f.Tensors["start"].F32[i*256:])
			var want []uint8
			if adapted {
				for _, v := range f.Tensors["lora.image"].F32[i*3072 : (i+1)*3072] {
					want = append(want, uint8(math.RoundToEven(float64(v*255))))
				}
			} else {
				want = picture(t, golden.Path("images/base-"+string(rune('0'+i))+".png")).Pixels
			}
			differ := 0
			for j, v := range got.Pixels {
				if off := int(v) - int(want[j]); off != 0 {
					if differ++; off*off > 1 {
						t.Fatalf("%q, adapted %t: byte %d is %d, want %d", prompt, adapted, j, v, want[j])
					}
				}
			}
			if differ > 3 {
				t.Errorf("%q, adapted %t: %d of %d bytes differ", prompt, adapted, differ, len(want))
			}
			t.Logf("%q, adapted %t: %d of %d bytes differ, by 1", prompt, adapted, differ, len(want))
		}
	}
}

// Picture i depends on the seed and i, not on how many there are or into which files they go.
func TestPicturesDependOnSeedAndNumber(t *testing.T) {
	g := request(t)
	g.Eta, g.Height, g.Width = 0.5, 16, 24
	generate := func(change func(*Generation)) []vision.RGB {
		g := g
		g.Out = filepath.Join(t.TempDir(), "p-%02d.png")
		change(&g)
		done, err := Generate(t.Context(), g)
		if err != nil {
			t.Fatal(err)
		}
		if done.Height != 16 || done.Width != 24 || done.NetworkCalls != int64(g.N*5*2) {
			t.Errorf("%+v", done)
		}
		var all []vision.RGB
		for _, file := range done.Files {
			all = append(all, picture(t, file))
		}
		return all
	}
	three := generate(func(g *Generation) { g.N = 3 })
	one := generate(func(g *Generation) {})
	other := generate(func(g *Generation) { g.Seed = 2 })
	if len(three) != 3 || len(one) != 1 || !slices.Equal(three[0].Pixels, one[0].Pixels) {
		t.Error("the first picture depends on the others")
	}
	if slices.Equal(three[0].Pixels, three[1].Pixels) || slices.Equal(one[0].Pixels, other[0].Pixels) {
		t.Error("pictures of other noise are the same")
	}
	grid := generate(func(g *Generation) { g.N, g.Out = 3, filepath.Join(t.TempDir(), "grid.PNG") })[0]
	if want := vision.Grid(three, 2); grid.Height != 32 || grid.Width != 48 || !slices.Equal(grid.Pixels, want.Pixels) {
		t.Errorf("the grid has %dx%d pixels, and they are %t", grid.Width, grid.Height, slices.Equal(grid.Pixels, want.Pixels))
	}
	for name, change := range map[string]func(*Generation){
		"negative prompt": func(g *Generation) { g.Negative = "Two dogs" }, "eta": func(g *Generation) { g.Eta = 0 },
		"adapter": func(g *Generation) { g.Adapters = []Adapter{{golden.Path("lora/peft"), 1}} },
	} {
		if slices.Equal(generate(change)[0].Pixels, one[0].Pixels) {
			t.Errorf("%s: changes nothing", name)
		}
	}
	nothing := generate(func(g *Generation) {
		g.Adapters = []Adapter{{golden.Path("lora/peft"), 0}, {golden.Path("lora/peft"), 0}}
	})
	if !slices.Equal(nothing[0].Pixels, one[0].Pixels) {
		t.Error("an adapter times 0 changes the picture")
	}
}

// What a file says of itself is what it takes to draw it again, whatever letters the prompt has.
func TestNotes(t *testing.T) {
	g := request(t)
	g.Prompt, g.Negative, g.N, g.Seed, g.Height, g.Width = "Zwei Hunde im Schloß", "cats", 2, 7, 4, 4
	g.Adapters, g.Out = []Adapter{{golden.Path("lora/peft"), 0.5}}, filepath.Join(t.TempDir(), "%d.png")
	done, err := Generate(t.Context(), g)
	if err != nil {
		t.Fatal(err)
	}
	file := oracle.Read(t, done.Files[1])
	for _, want := range []string{"iTXtprompt\x00\x00\x00\x00\x00Zwei Hunde im Schloß", "tEXtnegative prompt\x00cats", "tEXtseed\x007", "tEXtpicture\x002",
		"tEXtsettings\x00steps 5, eta 0, guidance 7.5, size 4x4, model pipeline, lora peft:0.5", "tEXtSoftware\x00doob "} {
		if !strings.Contains(file, want) {
			t.Errorf("there is no %q", want)
		}
	}
	if strings.Contains(file, filepath.Dir(g.Model)) {
		t.Error("it names the folders of this machine")
	}
}

func TestEvents(t *testing.T) {
	g := request(t)
	g.Prompt, g.Height, g.Width, g.N = strings.Repeat("rabbit ", 90)+"and the end", 4, 4, 2
	var stages []string
	var warnings string
	g.Observe = func(ev Event) {
		if ev.Warning != "" {
			warnings += ev.Warning
		} else if ev.Done == ev.Total {
			stages = append(stages, ev.Stage)
			if ev.Stage == "drawing" && ev.Total != 10 {
				t.Errorf("%+v", ev)
			}
		}
	}
	if _, err := Generate(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(stages, []string{"reading", "drawing", "decoding"}) || !strings.Contains(warnings, "the prompt has more than 75 tokens") || !strings.Contains(warnings, `and the end"`) {
		t.Errorf("%v, %q", stages, warnings)
	}
	ctx, cancel := context.WithCancel(t.Context())
	g.Observe = func(ev Event) {
		if ev.Stage == "drawing" && ev.Done == 3 {
			cancel()
		}
		if ev.Stage == "decoding" {
			t.Error("it goes on")
		}
	}
	g.Out = filepath.Join(t.TempDir(), "no.png")
	if _, err := Generate(ctx, g); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
	if _, err := os.Stat(g.Out); err == nil {
		t.Error("it has written something")
	}
}

// Everything that can be refused is, before anything is read that is large.
func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "folder.png"), 0o777); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Generation){
		"0 pictures":                    func(g *Generation) { g.N = 0 },
		"got 0 steps":                   func(g *Generation) { g.Steps = 0 },
		"eta is 1.5":                    func(g *Generation) { g.Eta = 1.5 },
		"guidance NaN":                  func(g *Generation) { g.Guidance = math.NaN() },
		"guidance -1":                   func(g *Generation) { g.Guidance = -1 },
		"want guidance above 1, got 1":  func(g *Generation) { g.Guidance, g.Negative = 1, "cats" },
		"want a name that ends in .png": func(g *Generation) { g.Out = "x.gif" },
		`output "%d-%d.png": want at most one %d`:        func(g *Generation) { g.Out = "%d-%d.png" },
		`output "100%.png"`:                              func(g *Generation) { g.Out = "100%.png" },
		`output "%s.png"`:                                func(g *Generation) { g.Out = "%s.png" },
		"folder.png\": there is a folder":                func(g *Generation) { g.Out = filepath.Join(dir, "folder.png") },
		"there is no folder":                             func(g *Generation) { g.Out = filepath.Join(dir, "no", "x.png") },
		"are multiples of 4: the nearest size is 32x40":  func(g *Generation) { g.Width, g.Height = 33, 39 },
		"the nearest size is 4x4":                        func(g *Generation) { g.Width, g.Height = 1, 4 },
		"no such file":                                   func(g *Generation) { g.Model = filepath.Join(dir, "nothing") },
		"adapter of another model":                       func(g *Generation) { g.Model = golden.Path("pipeline"); g.Adapters = []Adapter{{strange(t), 1}} },
		"adapter " + filepath.Join(dir, "x.safetensors"): func(g *Generation) { g.Adapters = []Adapter{{filepath.Join(dir, "x.safetensors"), 1}} },
	} {
		g := request(t)
		g.Observe = func(ev Event) { t.Errorf("%s: it begins: %+v", want, ev) }
		change(&g)
		_, err := Generate(t.Context(), g)
		oracle.WantError(t, err, want)
		_, err = NewPlan(g)
		oracle.WantError(t, err, want)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("%v, %v: it leaves something", left, err)
	}
}

// What cannot fit into memory is not begun.
func TestTooLarge(t *testing.T) {
	if _, ok := machine.Memory(); !ok {
		t.Skip("how much memory there is is not known here")
	}
	g := request(t)
	g.Height, g.Width = 1<<22, 1<<22
	g.Observe = func(ev Event) { t.Errorf("it begins: %+v", ev) }
	_, err := Generate(t.Context(), g)
	if !errors.Is(err, ErrTooLarge) {
		t.Errorf("err = %v", err)
	}
}

// strange is an adapter for a module that the tiny model has not.
func strange(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "strange.safetensors")
	half := checkpoint.Tensor{Shape: []int{1, 1}, F32: []float32{1}}
	if err := checkpoint.Save(path, checkpoint.File{Tensors: map[string]checkpoint.Tensor{"unet.x.to_q.lora_A.weight": half, "unet.x.to_q.lora_B.weight": half}}); err != nil {
		t.Fatal(err)
	}
	return path
}

// An adapter so large that nothing finite comes out is told as that.
func TestNotFinite(t *testing.T) {
	g := request(t)
	g.Adapters = []Adapter{{golden.Path("lora/peft"), 1e38}}
	_, err := Generate(t.Context(), g)
	oracle.WantError(t, err, "picture 1 is not of finite numbers")
}

func TestParseSize(t *testing.T) {
	if h, w, err := ParseSize("640x512"); h != 512 || w != 640 || err != nil {
		t.Error(h, w, err)
	}
	for _, text := range []string{"", "512", "512x", "x512", "512.5x512", "-8x8", "0x8", "512x512x3"} {
		_, _, err := ParseSize(text)
		oracle.WantError(t, err, "want WIDTHxHEIGHT")
	}
}

func TestPlan(t *testing.T) {
	g := request(t)
	g.N, g.Adapters = 3, []Adapter{{golden.Path("lora/peft"), 1}}
	p, err := NewPlan(g)
	if err != nil {
		t.Fatal(err)
	}
	d, err := g.open()
	if err != nil {
		t.Fatal(err)
	}
	var parameters float64
	e := oracle.Open(t)
	if _, err := d.sampler(e); err != nil {
		t.Fatal(err)
	}
	for v := range e.Params.IterVariables() {
		if !strings.HasPrefix(v.Path(), "/texts") {
			parameters += float64(engine.Size(v.Shape().Dimensions))
		}
	}
	if unet := p.Rows[1]; unet.Parameters != parameters || unet.Calls != 3*5*2 || unet.Memory < 4*parameters || p.Memory < unet.Memory || !(p.Seconds > 0) {
		t.Errorf("%+v, want %g parameters", p, parameters)
	}
	if _, err := os.Stat(g.Out); err == nil {
		t.Error("a plan has written something")
	}
	if text := p.Table().Rows[1]; text[0] != "U-Net" || text[2] != "30" {
		t.Errorf("%q", text)
	}
	g.Guidance = 1
	if p, err = NewPlan(g); err != nil || p.Rows[1].Calls != 3*5 {
		t.Errorf("%+v, %v", p, err)
	}
}
