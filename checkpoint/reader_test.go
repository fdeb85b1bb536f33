package checkpoint

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReader(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.safetensors")
	if err := os.WriteFile(path, golden(t), 0o644); err != nil {
		t.Fatal(err)
	}
	whole, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	names := r.Names()
	if want := []string{"a", "b", "e", "g", "h", "w", "y", "z"}; !slices.Equal(names, want) {
		t.Errorf("names %q, want %q", names, want)
	}
	if d := cmp.Diff(small().Metadata, r.Metadata()); d != "" {
		t.Errorf("metadata (-want +got):\n%s", d)
	}
	for name, want := range map[string]Info{"b": {F32, []int{2, 1}}, "a": {F32, []int{}}, "w": {BF16, []int{3}}, "h": {F16, []int{1}}} {
		if got, ok := r.Info(name); !ok || !cmp.Equal(got, want) {
			t.Errorf("%s is %v (%v), want %v", name, got, ok, want)
		}
	}
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			for _, name := range slices.Backward(names) {
				got, err := r.Tensor(name)
				if d := cmp.Diff(whole.Tensors[name], got); err != nil || d != "" {
					t.Errorf("%s (-loaded +read):\n%s; err = %v", name, d, err)
				}
			}
		})
	}
	wait.Wait()

	if _, ok := r.Info("x"); ok {
		t.Error("information on a tensor that is not there")
	}
	if _, err := r.Tensor("x"); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), `"x"`) {
		t.Errorf("err = %v, want one naming the file and the tensor", err)
	}
	if err := os.Truncate(path, int64(len(golden(t))-1)); err != nil { // h, at the end, has two bytes
		t.Fatal(err)
	}
	if _, err := r.Tensor("h"); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), `"h"`) {
		t.Errorf("err = %v, want ErrCorrupt naming the file and the tensor", err)
	}
	if _, err := r.Tensor("w"); err != nil {
		t.Error(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if _, err := r.Tensor("w"); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("err = %v, want fs.ErrClosed", err)
	}
}

// A caller may change what it gets.
func TestReaderKeepsItsOwn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.safetensors")
	if err := Save(path, small()); err != nil {
		t.Fatal(err)
	}
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	info, _ := r.Info("b")
	info.Shape[0] = 7
	x, err := r.Tensor("b")
	if err != nil {
		t.Fatal(err)
	}
	x.Shape[0], x.F32[0] = 8, 9
	r.Metadata()["step"] = "13"
	x, err = r.Tensor("b")
	if d := cmp.Diff(small().Tensors["b"], x); err != nil || d != "" || r.Metadata()["step"] != "12" {
		t.Errorf("step %s, b (-want +got):\n%s; err = %v", r.Metadata()["step"], d, err)
	}
}

// counting tells which bytes of a file are read.
type counting struct {
	io.ReaderAt
	read int64
}

func (c *counting) ReadAt(b []byte, at int64) (int, error) {
	n, err := c.ReaderAt.ReadAt(b, at)
	c.read += int64(n)
	return n, err
}

func TestReadsOnlyWhatIsAskedFor(t *testing.T) {
	b := saved(t, File{Tensors: map[string]Tensor{
		"large": {Shape: []int{1 << 20}, F32: make([]float32, 1<<20)},
		"small": {Shape: []int{3}, BF16: make([]BFloat16, 3)},
	}})
	c := &counting{ReaderAt: bytes.NewReader(b)}
	s, err := newShard(c, int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	if c.read != s.begin || s.begin > 300 {
		t.Errorf("opening reads %d bytes, want the %d of the header", c.read, s.begin)
	}
	if _, err := s.tensor(s.entries[1]); err != nil || c.read != s.begin+6 {
		t.Errorf("then %d bytes are read, want 6; err = %v", c.read-s.begin, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.safetensors")
	if _, err := Open(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: err = %v, want fs.ErrNotExist", err)
	}
	if _, err := Open(filepath.Dir(path)); err == nil || !strings.Contains(err.Error(), "regular file") {
		t.Errorf("a folder: err = %v, want what is expected", err)
	}
	whole := golden(t)
	for n := range whole {
		if err := os.WriteFile(path, whole[:n], 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), path) {
			t.Fatalf("first %d of %d bytes: err = %v, want ErrCorrupt naming the file", n, len(whole), err)
		}
	}
}
