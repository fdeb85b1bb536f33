package experiment

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/method"
	"github.com/doob-diffusion/doob/report"
)

// Seeds are read from every kind of file that samples are written to, and from folders of them.
func TestReadSeeds(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	points := []float32{1, -2.5, 0.125, 3}
	if err := report.CSV(at("points.csv"), points, 2); err != nil {
		t.Fatal(err)
	}
	if err := checkpoint.Save(at("points.safetensors"), checkpoint.File{Tensors: map[string]checkpoint.Tensor{"samples": {Shape: []int{2, 2}, F32: points}}}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"points.csv", "points.safetensors"} {
		if x, err := readSeeds(at(name), []int{2}); err != nil || !slices.Equal(x, points) {
			t.Errorf("%s: %v, %v", name, x, err)
		}
	}
	pictures := at("pictures")
	if err := os.Mkdir(pictures, 0o777); err != nil {
		t.Fatal(err)
	}
	dark, light := []float32{-1, -1, -1, -1, -1, -1}, []float32{1, 1, 1, 1, 1, -1}
	for name, x := range map[string][]float32{"a.png": dark, "b.png": light} {
		if err := report.Picture(filepath.Join(pictures, name), x, 2, 3, 1); err != nil {
			t.Fatal(err)
		}
	}
	if x, err := readSeeds(pictures, []int{2, 3, 1}); err != nil || !slices.Equal(x, append(slices.Clone(dark), light...)) {
		t.Errorf("a folder of pictures: %v, %v", x, err)
	}
	if x, err := readSeeds(filepath.Join(pictures, "b.png"), []int{2, 3, 1}); err != nil || !slices.Equal(x, light) {
		t.Errorf("a picture: %v, %v", x, err)
	}
	write := func(name, text string) string {
		if err := os.WriteFile(at(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return at(name)
	}
	empty := at("empty")
	if err := os.Mkdir(empty, 0o777); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		path  string
		shape []int
		words string
	}{
		"no file":         {at("none.csv"), []int{2}, "no such file"},
		"other dimension": {at("points.csv"), []int{3}, "line 1 has 2 numbers, want 3"},
		"words":           {write("words.csv", "1,2\n3,four\n"), []int{2}, "line 2"},
		"not finite":      {write("nan.csv", "1,2\nNaN,4\n"), []int{2}, "sample 1 has NaN"},
		"other tensor":    {at("points.safetensors"), []int{3}, "want samples of 3"},
		"empty folder":    {empty, []int{2, 3, 1}, "there are no samples"},
		"other picture":   {pictures, []int{3, 3, 1}, "has 2×3 pixels, want 3×3"},
		"no picture":      {write("text.png", "text"), []int{2, 3, 1}, "text.png"},
		"points by text":  {write("points.txt", "1 2"), []int{2}, "want a .csv or .safetensors of samples with 2 numbers"},
	} {
		if _, err := readSeeds(c.path, c.shape); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.words)
		}
	}
}

// What a result depends on is what the seeds' files hold, not only where they are.
func TestSeedsDigest(t *testing.T) {
	dir := t.TempDir()
	m := method.New("importance")
	digest := func() string {
		d, err := seedsDigest(m)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	if d := digest(); d != "" {
		t.Errorf("without seeds: %q", d)
	}
	*m.(seeded).SeedsPath() = dir
	seen := []string{digest()}
	for _, text := range []string{"1,2", "1,3"} {
		if err := os.WriteFile(filepath.Join(dir, "x.csv"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if d := digest(); d == "" || slices.Contains(seen, d) {
			t.Errorf("with %q: %q, as before", text, d)
		} else {
			seen = append(seen, d)
		}
	}
	*m.(seeded).SeedsPath() = filepath.Join(dir, "none")
	if _, err := seedsDigest(m); !errors.Is(err, ErrConfig) {
		t.Errorf("without the file: %v", err)
	}
}
