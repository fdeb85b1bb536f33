package superres

import (
	"bytes"
	"errors"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/doob-diffusion/doob/data"
	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/experiment/restore"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/report"
	"github.com/doob-diffusion/doob/vision"
)

// restoreOwn restores a picture of one's own, of a size that is no multiple of anything.
func restoreOwn(t *testing.T, folder string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "own.png")
	pixels := make([]float32, 33*50)
	for i := range pixels {
		pixels[i] = float32(math.Sin(float64(i%50)/5)) / 2
	}
	if err := report.Picture(file, pixels, 33, 50, 1); err != nil {
		t.Fatal(err)
	}
	q := restore.Restoration{Folder: folder, Picture: file, N: 2, Seed: 3, Out: filepath.Join(t.TempDir(), "out.png"), Spread: filepath.Join(t.TempDir(), "sd.png")}
	got, err := restore.Restore(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	// 14×14 entries are a tile, and the next is 11 further: 3 × 5 of them cover 33×50.
	if got.Height != 66 || got.Width != 100 || got.Tiles != 15 || got.NetworkCalls != 2*2*15*4 || !(got.Spread > 0) || !got.Learned || !math.IsNaN(got.PSNR) {
		t.Errorf("restored to %+v, want 66×100 in 15 tiles with 240 calls", *got)
	}
	for _, file := range []string{q.Out, q.Spread} {
		oracle.Picture(t, file, 100, 66)
	}
	first, err := os.ReadFile(q.Out)
	if err != nil {
		t.Fatal(err)
	}
	notes, err := report.Notes(bytes.NewReader(first))
	if err != nil || len(notes) != 4 || notes[1] != (report.Note{Key: "seed", Text: "3"}) || notes[2].Text != "samples 2, steps 4, measured false" {
		t.Errorf("the picture says %q, %v", notes, err)
	}
	if _, err := restore.Restore(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	if again, err := os.ReadFile(q.Out); err != nil || string(again) != string(first) {
		t.Errorf("restored again, the picture is another: %v", err)
	}
	q.Steps = 2
	if got, err = restore.Restore(t.Context(), q); err != nil || got.NetworkCalls != 2*2*15*2 {
		t.Errorf("restored in 2 steps: %+v, %v", got, err)
	}
	other := q
	other.Operator, other.Sigma = "average-4", 0.3
	if got, err = restore.Restore(t.Context(), other); err != nil || got.Height != 4*33 || got.Learned {
		t.Errorf("restored by guidance to %+v, %v", got, err)
	}
	q.Measure = true
	if got, err = restore.Restore(t.Context(), q); err != nil || got.Height != 33 || got.Tiles != 6 || math.IsNaN(got.PSNR) || math.IsNaN(got.SSIM) {
		t.Errorf("measured and restored to %+v, %v", got, err)
	}
	for name, c := range map[string]struct {
		change func(q *restore.Restoration)
		words  string
		is     error
	}{
		"no picture":   {func(q *restore.Restoration) { q.Picture = filepath.Join(folder, "config.yaml") }, "config.yaml", vision.ErrPicture},
		"not there":    {func(q *restore.Restoration) { q.Picture = "nowhere.png" }, "nowhere.png", vision.ErrPicture},
		"no samples":   {func(q *restore.Restoration) { q.N = 0 }, "0 samples: want at least 1", nil},
		"no folder":    {func(q *restore.Restoration) { q.Folder = t.TempDir() }, "", experiment.ErrFolder},
		"no backend":   {func(q *restore.Restoration) { q.Backend = "abacus" }, "abacus", nil},
		"out of reach": {func(q *restore.Restoration) { q.Out = filepath.Join(t.TempDir(), "no", "x.png") }, "there is no folder", vision.ErrOutput},
		"another kind": {func(q *restore.Restoration) { q.Out = filepath.Join(t.TempDir(), "x.webp") }, "written as PNG or JPEG", vision.ErrOutput},
		"itself":       {func(q *restore.Restoration) { q.Out = q.Picture }, "which would be lost", vision.ErrOutput},
		"twice":        {func(q *restore.Restoration) { q.Spread = q.Out }, "one would replace the other", vision.ErrOutput},
		"no noise":     {func(q *restore.Restoration) { q.Operator = "blur" }, "want both", nil},
		"no operator":  {func(q *restore.Restoration) { q.Sigma = 0.1 }, "want both", nil},
		"bad noise":    {func(q *restore.Restoration) { q.Operator, q.Sigma = "blur", math.NaN() }, "the noise positive", nil},
		"bad operator": {func(q *restore.Restoration) { q.Operator, q.Sigma = "blurr", 0.1 }, "there are average-2", nil},
		"no divisor":   {func(q *restore.Restoration) { q.Operator, q.Sigma = "average-3", 0.1 }, "divide both sides", nil},
		"negative":     {func(q *restore.Restoration) { q.Steps = -1 }, "-1 steps: want at least 1", nil},
	} {
		bad := q
		c.change(&bad)
		if _, err := restore.Restore(t.Context(), bad); err == nil || !strings.Contains(err.Error(), c.words) || c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// restoreLarge restores a picture and one of four times the height: memory does not grow with it, progress is told, and both agree where they see the same.
func restoreLarge(t *testing.T, folder string) {
	t.Helper()
	restore := func(height int) (live uint64, told []int, out vision.RGB) {
		const width = 28
		pixels := make([]float32, height*width)
		for i := range pixels {
			pixels[i] = float32(math.Sin(float64(i%width)/5 + float64(i/width)/9))
		}
		q := restore.Restoration{Folder: folder, Picture: filepath.Join(t.TempDir(), "in.png"), N: 1, Steps: 1, Out: filepath.Join(t.TempDir(), "out.png"), Spread: filepath.Join(t.TempDir(), "sd.jpg"),
			Observe: func(done, total int) {
				told = append(told, done)
				var m runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&m)
				live = max(live, m.HeapAlloc)
			}}
		if err := report.Picture(q.Picture, pixels, height, width, 1); err != nil {
			t.Fatal(err)
		}
		r, err := restore.Restore(t.Context(), q)
		if err != nil || r.Height != 2*height || r.Tiles != told[len(told)-1] || !slices.IsSorted(told) || len(told) < 3 {
			t.Fatalf("%+v, told %v, %v", r, told, err)
		}
		if out, err = vision.Open(q.Out); err != nil {
			t.Fatal(err)
		}
		return live, told, out
	}
	low, _, short := restore(1000)
	high, told, tall := restore(4000)
	// The picture itself has 4 bytes a pixel, and nothing else grows: all paths at once would take 15 MB more.
	if high > low+4*3000*28+1<<20 {
		t.Errorf("%d bytes are alive while a picture of 4000 rows is restored, and %d for one of 1000", high, low)
	}
	if len(told) < 5 {
		t.Errorf("progress of a large picture is %v", told)
	}
	if same := 3 * 2 * 28 * 2 * 900; !slices.Equal(short.Pixels[:same], tall.Pixels[:same]) {
		t.Error("the upper rows depend on how many there are below")
	}
}

// A hole is in the middle of one tile: pictures of another size have no such place. A run without importance has nothing to restore with.
func TestRestoreRefuses(t *testing.T) {
	folder, _, _ := run(t, tiny(t, "operator=inpaint", "methods=[bicubic]"))
	file := filepath.Join(t.TempDir(), "own.png")
	q := restore.Restoration{Folder: folder, Picture: file, N: 1, Out: filepath.Join(t.TempDir(), "out.png")}
	for side, words := range map[int]string{29: "inpainting has its hole in the middle of 28×28", 28: "has learned no h by importance"} {
		if err := report.Picture(file, make([]float32, side*28), side, 28, 1); err != nil {
			t.Fatal(err)
		}
		if _, err := restore.Restore(t.Context(), q); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%d×28 pixels: %v, want an error with %q", side, err, words)
		}
	}
	if _, err := os.Stat(q.Out); !os.IsNotExist(err) {
		t.Errorf("a picture was written: %v", err)
	}
}

// Tiles that are all right blend to the whole, whatever the size, and however many of them come at a time.
func TestTiling(t *testing.T) {
	for _, size := range [][2]int{{14, 14}, {5, 9}, {15, 14}, {40, 33}, {28, 100}, {1, 1}} {
		for _, channels := range []int{1, 3} {
			p := make([]float32, size[0]*size[1]*channels)
			noise.New(1).Normal(p, 0, 0)
			pixel := func(y, x int, dst []float32) { copy(dst, p[(y*size[1]+x)*channels:]) }
			tile := []int{14, 14, channels}
			whole := data.NewTiling(size[0], size[1], tile)
			if got := len(whole.Cut(0, whole.N(), pixel)); got != whole.N()*14*14*channels {
				t.Fatalf("%v: %d numbers in %d tiles", size, got, whole.N())
			}
			for _, together := range []int{1, 3, whole.N()} {
				got := blended(t, whole, tile, 1, together, func(from, n int) []float32 { return whole.Cut(from, n, pixel) })
				for i, v := range got {
					if math.Abs(float64(v-p[i])) > 1e-6 {
						t.Fatalf("%v: pixel %d is %g, want %g", size, i, v, p[i])
					}
				}
			}
		}
	}
	// Results larger by a factor, each pixel as a block of 2×2.
	p := make([]float32, 20*31)
	noise.New(2).Normal(p, 0, 0)
	small := data.NewTiling(20, 31, []int{14, 14, 1})
	large := blended(t, small, []int{28, 28, 1}, 2, 2, func(from, n int) (large []float32) {
		tiles := small.Cut(from, n, func(y, x int, dst []float32) { dst[0] = p[y*31+x] })
		for tile := range n {
			for i := range 28 * 28 {
				large = append(large, tiles[tile*196+i/28/2*14+i%28/2])
			}
		}
		return large
	})
	for i, v := range large {
		oracle.Near(t, "pixel", float64(v), float64(p[i/62/2*31+i%62/2]), 1e-6)
	}
}

// blended puts results of tiles together, some at a time.
func blended(t *testing.T, tiling data.Tiling, result []int, factor, together int, results func(from, n int) []float32) (all []float32) {
	t.Helper()
	row := tiling.Width * factor * result[2]
	b := tiling.Blend(result, factor, func(rows []float32) error {
		if len(rows)%row != 0 || len(rows) > result[0]*row {
			t.Errorf("%d numbers at a time, want rows of %d, and at most those of a tile", len(rows), row)
		}
		all = append(all, rows...)
		return nil
	})
	for from := 0; from < tiling.N(); from += together {
		if err := b.Add(results(from, min(together, tiling.N()-from))); err != nil {
			t.Fatal(err)
		}
	}
	if want := tiling.Height * factor * row; len(all) != want {
		t.Fatalf("%d numbers in all, want %d", len(all), want)
	}
	return all
}

// Where tiles overlap, one passes over into the other without a seam, to the side and downwards: neighbours differ by no more than
// the overlap asks for.
func TestTilingHasNoSeams(t *testing.T) {
	for _, size := range [][2]int{{14, 25}, {25, 14}} {
		two := data.NewTiling(size[0], size[1], []int{14, 14, 1})
		if two.N() != 2 {
			t.Fatalf("%d tiles", two.N())
		}
		x := blended(t, two, []int{14, 14, 1}, 1, 1, func(from, _ int) []float32 { return slices.Repeat([]float32{float32(from)}, 196) })
		last := float32(0)
		for i := range 25 {
			v := x[i*14] // the first column
			if size[1] == 25 {
				v = x[i] // the first row
			}
			if v < last || v > last+0.4 || i < 11 && v != 0 || i > 13 && v != 1 {
				t.Errorf("%v: pixel %d is %g after %g", size, i, v, last)
			}
			last = v
		}
	}
}

// Pictures are read in gray or in colour, from −1 to 1, wherever their corner is.
func TestReadPicture(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.png")
	m := image.NewRGBA(image.Rect(5, 7, 8, 9))
	draw.Draw(m, m.Bounds(), image.Black, image.Point{}, draw.Src)
	m.Set(5, 7, color.RGBA{255, 0, 0, 255})
	m.Set(7, 8, color.RGBA{255, 255, 255, 255})
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(png.Encode(f, m), f.Close()); err != nil {
		t.Fatal(err)
	}
	coloured, err := data.ReadPicture(file, 3)
	if err != nil || coloured.Height != 2 || coloured.Width != 3 || len(coloured.Pixels) != 18 {
		t.Fatalf("%d×%d, %v", coloured.Height, coloured.Width, err)
	}
	for i, want := range map[int]float64{0: 1, 1: -1, 2: -1, 3: -1, 15: 1, 16: 1, 17: 1} {
		oracle.Near(t, "colour", float64(coloured.Pixels[i]), want, 1e-4)
	}
	gray, err := data.ReadPicture(file, 1)
	if err != nil || len(gray.Pixels) != 6 {
		t.Fatalf("%d pixels, %v", len(gray.Pixels), err)
	}
	oracle.Near(t, "red in gray", float64(gray.Pixels[0]), 2*0.299-1, 0.01)
	oracle.Near(t, "white in gray", float64(gray.Pixels[5]), 1, 1e-4)
}

// Measurements of another kind than the run has learned are restored by guidance of its prior. Of Gaussian data the prior is exact: samples fit a measurement
// about as well as the truth does, where samples of the prior would be off by the variance of the data over that of the noise, 0.25/0.04, and more.
func TestRestoreByGuidance(t *testing.T) {
	folder, _, _ := run(t, tiny(t, "data=gaussian", "gaussian={side: 12, length: 2, sd: 0.5}", "h={tuned: false, patch: 1, multipliers: [1]}", "operator=average-2", "methods=[bicubic]", "process={steps: 24}"))
	file := filepath.Join(t.TempDir(), "own.png")
	pixels := Field{Side: 12, Length: 2, SD: 0.5}.images(4, noise.New(5)).Pixels // four pictures one above the other: more than one tile
	if err := report.Picture(file, pixels, 48, 12, 1); err != nil {
		t.Fatal(err)
	}
	for operator, scale := range map[string]int{"blur-1": 1, "average-3": 3} {
		q := restore.Restoration{Folder: folder, Picture: file, Measure: true, Operator: operator, Sigma: 0.2, N: 16, Out: filepath.Join(t.TempDir(), "out.png")}
		got, err := restore.Restore(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if got.Learned || got.Operator != operator || got.Sigma != 0.2 || got.Height != 48 || got.Residual < 0.5 || got.Residual > 2 || !(got.PSNR > 15) { // 20 dB is an error of 0.2
			t.Errorf("%s: %+v", operator, got)
		}
		q.Measure = false
		if got, err := restore.Restore(t.Context(), q); err != nil || got.Height != 48*scale || got.Width != 12*scale {
			t.Errorf("%s: %+v, %v", operator, got, err)
		}
	}
}
