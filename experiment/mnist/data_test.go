package mnist

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/doob-diffusion/doob/data"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/experiment"
)

var names = []string{"train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"}

// idx is an IDX file of zeros.
func idx(dims ...int) []byte {
	b, n := []byte{0, 0, 8, byte(len(dims))}, 1
	for _, d := range dims {
		b, n = binary.BigEndian.AppendUint32(b, uint32(d)), n*d
	}
	return append(b, make([]byte, n)...)
}

// Wrong data stops a run before it has written anything, whatever data are asked for: somebody has said where they are.
func TestWrongData(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	z.Write(idx(60000, 28, 28))
	z.Close()
	for _, c := range []struct {
		name  string
		files map[string][]byte
		words []string
		is    error
	}{
		{"none", nil, []string{"missing data files", names[0], names[3]}, data.ErrMissing},
		{"one missing", map[string][]byte{names[0]: nil, names[1]: nil, names[2]: nil}, []string{"missing", names[3]}, data.ErrMissing},
		{"empty", map[string][]byte{names[0]: nil, names[1]: nil, names[2]: nil, names[3]: nil}, []string{names[0], "truncated"}, nil},
		{"no IDX", map[string][]byte{names[0]: []byte("<html>404</html>"), names[1]: nil, names[2]: nil, names[3]: nil}, []string{names[0], "magic number", "not an IDX file"}, nil},
		{"too few", map[string][]byte{names[0]: idx(3, 28, 28), names[1]: nil, names[2]: nil, names[3]: nil}, []string{"[3 28 28]", "[60000 28 28]"}, nil},
		{"swapped", map[string][]byte{names[0]: idx(60000), names[1]: nil, names[2]: nil, names[3]: nil}, []string{"swapped"}, nil},
		{"altered", map[string][]byte{names[0] + ".gz": packed.Bytes(), names[1]: nil, names[2]: nil, names[3]: nil}, []string{names[0] + ".gz", "checksum mismatch"}, data.ErrChecksum},
		{"cut", map[string][]byte{names[0] + ".gz": packed.Bytes()[:packed.Len()/2], names[1]: nil, names[2]: nil, names[3]: nil}, []string{names[0] + ".gz", "truncated"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, content := range c.files {
				if err := os.WriteFile(filepath.Join(dir, name), content, 0o666); err != nil {
					t.Fatal(err)
				}
			}
			folder := filepath.Join(t.TempDir(), "run")
			_, err := experiment.Run(t.Context(), tiny(t, "data=auto", "from="+dir), folder, engine.Default, func(experiment.Event) {})
			for _, words := range append(c.words, dir) {
				if err == nil || !strings.Contains(err.Error(), words) {
					t.Errorf("error %v, want one with %q", err, words)
				}
			}
			if c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("%v is no %v", err, c.is)
			}
			if _, err := os.Stat(folder); !os.IsNotExist(err) {
				t.Error("the run folder was made")
			}
		})
	}
}

// Nobody has said where the data are, and the store is empty: auto draws digits, mnist is an error that says what to do.
func TestDataOfTheStore(t *testing.T) {
	store := t.TempDir()
	t.Setenv("DOOB_DATA", store)
	_, err := tiny(t, "data=mnist").Load()
	for _, words := range []string{filepath.Join(store, "mnist"), "doob data get mnist", "--from", "data=digits"} {
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("error %v, want one with %q", err, words)
		}
	}
	p := tiny(t, "data=auto")
	source, err := p.Load()
	if err != nil || p.Data != "digits" || source.Name != "digits" || source.SHA256 == "" {
		t.Errorf("auto without the files: %q, %+v, %v", p.Data, source, err)
	}
	if p.images.Train.N != 200 || p.images.Test.N != 40 {
		t.Errorf("%d digits to train on, %d to test on, want 200 and a fifth", p.images.Train.N, p.images.Test.N)
	}
}

// Only images of the classes are taken, the first ones of them.
func TestOnly(t *testing.T) {
	p := tiny(t)
	if _, err := p.Load(); err != nil {
		t.Fatal(err)
	}
	x := only(p.images.Train, []int{3, 8}, 7)
	found := 0
	for i := 0; i < p.images.Train.N && found < 7; i++ {
		if label := p.images.Train.Labels[i]; label == 3 || label == 8 {
			if got := x[found*pixels : (found+1)*pixels]; &got[0] == &p.images.Train.At(i)[0] || !equal(got, p.images.Train.At(i)) {
				t.Errorf("image %d of those asked for is not number %d of all", found, i)
			}
			found++
		}
	}
	if len(x) != 7*pixels || len(only(p.images.Test, []int{3}, 1000)) != 4*pixels { // a tenth of 40
		t.Errorf("%d images", len(x)/pixels)
	}
}

func equal(a, b []float32) bool {
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return len(a) == len(b)
}
