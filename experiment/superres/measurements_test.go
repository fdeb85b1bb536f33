package superres

import (
	"math"
	"slices"
	"testing"

	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/experiment/imaging"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/method"
	"github.com/doob-diffusion/doob/metric"
	"github.com/doob-diffusion/doob/noise"
)

// The measurements of a run are means of blocks of test images with noise, of training images others for every group of paths.
func TestMeasurements(t *testing.T) {
	p, l := prepared(t, "measurements=8", "sigma=0.05")
	if len(p.truth) != 8*28*28 || len(p.measured) != 8*14*14 {
		t.Fatalf("%d pixels, %d measured", len(p.truth), len(p.measured))
	}
	var square float64
	for i := range 8 {
		if x := p.truth[i*784 : (i+1)*784]; !isOneOf(x, p.test.Pixels) || isOneOf(x, p.train.Pixels) {
			t.Errorf("image %d is no test image", i)
		}
		square += noiseOf(p.truth[i*784:(i+1)*784], p.measurement(i)) / 8
	}
	oracle.Near(t, "variance of the noise", square/(0.05*0.05), 1, 4*math.Sqrt(2./(8*196)))

	y, other := make([]float32, 196), make([]float32, 196)
	these := p.these(2, 3)
	for path, want := range []int{2, 2, 2, 3, 3, 3, 4} {
		if these.Draw(l.Key, path, y); !slices.Equal(y, p.measurement(want)) {
			t.Errorf("path %d is not of measurement %d", path, want)
		}
	}
	learn := p.training()
	distinct := map[float32]bool{}
	for group := range 6 {
		learn.Draw(l.Key, 2*group, y)
		if learn.Draw(l.Key, 2*group+1, other); !slices.Equal(y, other) {
			t.Errorf("the two paths of group %d have two measurements", group)
		}
		distinct[y[90]] = true
		best := math.Inf(1)
		for i := range p.train.N {
			best = min(best, noiseOf(p.train.At(i), y))
		}
		oracle.Near(t, "variance of the noise on a training image", best/(0.05*0.05), 1, 4*math.Sqrt(2./196))
	}
	if len(distinct) != 6 {
		t.Errorf("6 groups have %d measurements", len(distinct))
	}
}

// noiseOf returns the mean square of what a measurement has besides the means of blocks of 2×2 pixels.
func noiseOf(x, y []float32) (square float64) {
	for k, v := range y {
		at := k/14*2*28 + k%14*2
		mean := (float64(x[at]) + float64(x[at+1]) + float64(x[at+28]) + float64(x[at+29])) / 4
		square += (float64(v) - mean) * (float64(v) - mean) / float64(len(y))
	}
	return square
}

func isOneOf(x, all []float32) bool {
	for other := range slices.Chunk(all, len(x)) {
		if slices.Equal(x, other) {
			return true
		}
	}
	return false
}

// Half of the images that the prior sees are mirrored.
func TestFlip(t *testing.T) {
	p := tiny(t, "flip=true")
	if _, err := p.Load(); err != nil {
		t.Fatal(err)
	}
	mirrored, got := 0, make([]float32, 784)
	const n = 400
	for i := range n {
		p.picture(got, 3, noise.New(1), i/20, i%20)
		switch want := p.train.At(3); {
		case slices.Equal(got, want):
		default:
			for k, v := range got {
				if v != want[k/28*28+27-k%28] {
					t.Fatalf("pixel %d of a mirrored image is %g", k, v)
				}
			}
			mirrored++
		}
	}
	oracle.Near(t, "mirrored", float64(mirrored), n/2, 4*math.Sqrt(n)/2)
	p.Flip = false
	if p.picture(got, 3, noise.New(1), 0, 0); !slices.Equal(got, p.train.At(3)) {
		t.Error("without flip, an image is another")
	}
}

// Without a prior: bicubic upsampling of block averages, of other measurements what they see of every pixel. Both are exact where the image
// is flat, and bicubic is nearer to a smooth one than blocks are.
func TestBicubic(t *testing.T) {
	for _, operator := range []string{"average-2", "average-4", "inpaint", "blur"} {
		p, l := prepared(t, "operator="+operator, "sigma=0.000001")
		flat := slices.Repeat([]float32{0.25}, 3*784)
		smooth := make([]float32, 3*784)
		for i := range smooth {
			smooth[i] = float32(0.8 * math.Sin(float64(i%28)/6) * math.Cos(float64(i/28%28)/5))
		}
		psnr := map[string]float64{}
		for name, x := range map[string][]float32{"flat": flat, "smooth": smooth} {
			var err error
			if p.measured, err = p.reward.Measure(t.Context(), x, 0, 3, l.Key); err != nil {
				t.Fatal(err)
			}
			target, err := p.Target(t.Context(), l, "")
			if err != nil {
				t.Fatal(err)
			}
			target.Of, target.Engine = p, l.Engine
			s, err := (&Bicubic{}).Sample(t.Context(), target, nil)
			if err != nil || s.Count != 3 || s.Members != 1 || len(s.X) != 3*784 || s.Certificate != nil {
				t.Fatalf("%s: %d numbers, %v", operator, len(s.X), err)
			}
			for i, v := range s.X {
				hole := operator == "inpaint" && i/28%28 >= 7 && i/28%28 < 21 && i%28 >= 7 && i%28 < 21
				switch {
				case hole:
					oracle.Near(t, operator+": the hole", float64(v), 0, 1e-6)
				case name == "flat" || operator == "inpaint":
					oracle.Near(t, operator+": "+name, float64(v), float64(x[i]), 1e-4)
				}
			}
			psnr[name] = metric.PSNR(s.X, x, len(x))[0]
			if name == "smooth" && operator == "average-2" {
				blocks, err := p.backproject(t.Context(), l.Engine, p.measured)
				if err != nil {
					t.Fatal(err)
				}
				if b := metric.PSNR(blocks, x, len(x))[0]; psnr["smooth"] < b+10 {
					t.Errorf("bicubic has %g dB, blocks %g", psnr["smooth"], b)
				}
			}
		}
	}
	if x := imaging.Clipped([]float32{-3, -1, 0.5, 2}); !slices.Equal(x, []float32{-1, -1, 0.5, 1}) {
		t.Errorf("clipped: %v", x)
	}
}

// A scale is judged by the posterior means of measurements of training images, four samples each: the truth would be the best.
func TestTrial(t *testing.T) {
	p, l := prepared(t)
	trial, err := p.trial(t.Context(), l.Key, 8)
	if err != nil || trial.Paths != 8 || trial.Given == nil {
		t.Fatalf("%+v, %v", trial, err)
	}
	// Find the images that were measured.
	var truth []float32
	y, next := make([]float32, 196), make([]float32, 196)
	for image := range 2 {
		trial.Given.Draw(l.Key, 4*image, y)
		for path := 1; path < 4; path++ {
			if trial.Given.Draw(l.Key, 4*image+path, next); !slices.Equal(y, next) {
				t.Errorf("paths of image %d have several measurements", image)
			}
		}
		best := 0
		for i := range p.train.N {
			if noiseOf(p.train.At(i), y) < noiseOf(p.train.At(best), y) {
				best = i
			}
		}
		truth = append(truth, p.train.At(best)...)
	}
	quality := func(sd float64) float64 {
		x := make([]float32, 8*784)
		noise.New(5).Normal(x, 0, 0)
		for i := range x {
			x[i] = x[i]*float32(sd) + truth[i/784/4*784+i%784]
		}
		q, err := trial.Quality(t.Context(), x)
		if err != nil {
			t.Fatal(err)
		}
		return q
	}
	if a, b := quality(0.1), quality(0.5); !(a > b+3) {
		t.Errorf("quality %g with little noise, %g with more", a, b)
	}
}

// The metrics say what they should of samples that are known: the truth has no error, and noise of a known sd has a known PSNR.
func TestMetrics(t *testing.T) {
	p, l := prepared(t)
	if _, err := p.References(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	measure := func(s *method.Samples) experiment.Result {
		r, err := p.Measure(t.Context(), l, "", s)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	const members, sd = 6, 0.2
	x := make([]float32, 3*members*784)
	noise.New(1).Normal(x, 0, 0)
	for i := range x {
		x[i] = x[i]*sd + p.truth[i/784/members*784+i%784]*0.5 + 0.1 // nothing to clip
	}
	truth := p.truth
	p.truth = slices.Clone(truth)
	for i, v := range truth {
		p.truth[i] = 0.5*v + 0.1
	}
	r := measure(&method.Samples{X: x, Count: 3, Members: members, Sampling: method.Spent{Calls: 30, Seconds: 6}})
	oracle.Near(t, "PSNR of the mean", r["psnr"].Value, 10*math.Log10(4*members/(sd*sd)), 0.3) // images are from −1 to 1
	// The error of the mean is the spread over √members: were the truth one more member, it would be √(members+1) times that.
	oracle.Near(t, "spread/skill", r["spread_skill"].Value, math.Sqrt(members+1), 4*math.Sqrt(members+1)/math.Sqrt(2*3*784))
	oracle.Near(t, "calls per image", r["network_calls"].Value, 10, 0)
	oracle.Near(t, "seconds per image", r["seconds"].Value, 2, 0)
	oracle.Near(t, "CRPS of N(y, sd²) at y, fair", r["crps"].Value, sd*(math.Sqrt(2)-1)/math.Sqrt(math.Pi), 0.005) // E|X−y| − E|X−X'|/2
	p.truth = truth

	// From another measurement on, it is compared with that.
	one := measure(&method.Samples{X: truth[784 : 2*784], From: 1, Count: 1, Members: 1})
	if one["ssim"].Value < 0.999 || !math.IsInf(one["psnr"].Value, 1) && one["psnr"].Value < 100 || !math.IsNaN(value(one, "fid")) {
		t.Errorf("the truth of measurement 1: %v", one)
	}
	if p.chosen() != 1 || one["psnr_single"].Value != one["psnr"].Value {
		t.Errorf("PSNR of measurement %d is %v, that of the chosen one %v", p.chosen(), one["psnr"], one["psnr_single"])
	}
	wrong := measure(&method.Samples{X: truth[784 : 2*784], From: 2, Count: 1, Members: 1})
	if wrong["psnr"].Value > 30 || wrong["residual"].Value < 10 {
		t.Errorf("the truth of measurement 1 for 2: %v", wrong)
	}
	if _, ok := wrong["psnr_single"]; ok {
		t.Error("what is of measurement 2 has the PSNR of measurement 1")
	}
	// All test images have no distance to themselves.
	d, err := p.features.Distance(t.Context(), p.test.Pixels, p.real)
	if err != nil {
		t.Fatal(err)
	}
	oracle.Near(t, "FID of the test images", d, 0, 1e-4)
}

func value(r experiment.Result, name string) float64 {
	if e, ok := r[name]; ok {
		return e.Value
	}
	return math.NaN()
}

// Means and spreads are of the samples of every measurement.
func TestMembers(t *testing.T) {
	s := &method.Samples{X: []float32{1, 10, 3, 20, 5, 30, 7, 7, 7, 7, 7, 10}, Count: 2, Members: 3}
	if got := imaging.Means(s.X, 3, 2); !slices.Equal(got, []float32{3, 20, 7, 8}) {
		t.Errorf("means %v", got)
	}
	for i, want := range []float64{2, 10, 0, math.Sqrt(3)} {
		oracle.Near(t, "spread", float64(imaging.Spread(s, 2)[i]), want, 1e-6)
	}
	if got := member(s, 1, 2); !slices.Equal(got, []float32{3, 20, 7, 7}) {
		t.Errorf("members %v", got)
	}
	shades, top := shaded([]float32{0, 1, 2, 4})
	if top != 2 || !slices.Equal(shades, []float32{-1, 0, 1, 1}) {
		t.Errorf("shades %v, the top is %g", shades, top)
	}
	if shades, _ := shaded([]float32{0, 0}); !slices.Equal(shades, []float32{-1, -1}) {
		t.Errorf("shades of nothing: %v", shades)
	}
}

// Within a repetition, methods share the noise of their samples and the h that they start from, and learn from noise of their own.
func TestKeys(t *testing.T) {
	p := &Problem{}
	a, b, c := p.Keys(1, "", "importance"), p.Keys(1, "", "vargrad"), p.Keys(2, "", "importance")
	if a.Root != b.Root || a.Start != b.Start || a.Particles != b.Particles || a.Loop == b.Loop || a.Root == c.Root || a.Start == c.Start || a.Loop == c.Loop {
		t.Errorf("keys are %v, %v and %v", a, b, c)
	}
}
