package checkpoint

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What is rewritten unchanged is what Save writes of it, byte for byte; a change is one tensor's.
func TestRewrite(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	if err := os.WriteFile(from, golden(t), 0o666); err != nil {
		t.Fatal(err)
	}
	r, err := Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := Rewrite(to, r, r.Metadata(), nil); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(to); err != nil || !bytes.Equal(b, golden(t)) {
		t.Errorf("another file; err = %v", err)
	}
	err = Rewrite(to, r, nil, func(name string, x Tensor) (Tensor, error) {
		if name == "b" {
			x.F32[1] = 7
		}
		return x, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := small()
	want.Tensors["b"].F32[1] = 7
	got, err := Load(to)
	if d := cmp.Diff(want.Tensors["b"], got.Tensors["b"]); err != nil || d != "" || len(got.Tensors) != len(want.Tensors) {
		t.Errorf("%d tensors, b (-want +got):\n%s; err = %v", len(got.Tensors), d, err)
	}

	// An error leaves what was there.
	refused := errors.New("refused")
	for _, change := range []func(string, Tensor) (Tensor, error){
		func(string, Tensor) (Tensor, error) { return Tensor{}, refused },
		func(string, Tensor) (Tensor, error) { return Tensor{Shape: []int{1}, F32: []float32{1}}, nil },
	} {
		err := Rewrite(to, r, nil, change)
		if err == nil || !strings.Contains(err.Error(), to) || !strings.Contains(err.Error(), `tensor "z"`) {
			t.Errorf("err = %v, want one naming file and tensor", err)
		}
	}
	if again, err := Load(to); err != nil || !cmp.Equal(got.Tensors["b"], again.Tensors["b"]) {
		t.Errorf("the old file is gone; err = %v", err)
	}
}

func TestPointer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.safetensors")
	const text = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 3438167540\n"
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, open := range []func(string) error{
		func(p string) error { _, err := Open(p); return err },
		func(p string) error { _, err := Load(p); return err },
	} {
		err := open(path)
		if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "Git LFS pointer, a text of 135 bytes in place of the file of 3438167540 bytes: git lfs pull") {
			t.Errorf("err = %v, want what it is", err)
		}
	}
	// Other texts are no pointers.
	if err := os.WriteFile(path, []byte("version 3 of a text"), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); !errors.Is(err, ErrCorrupt) || strings.Contains(err.Error(), "LFS") {
		t.Errorf("err = %v", err)
	}
}
