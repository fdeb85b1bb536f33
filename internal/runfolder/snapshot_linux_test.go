package runfolder

import (
	"os/signal"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/internal/oracle"
)

// On a full disk the snapshot before stays, and the run folder can be reopened from it.
func TestKeepWithoutSpace(t *testing.T) {
	f := started(t)
	first := Snapshot{Seed: 1, Stage: "cem", Done: 1, Tensors: map[string]checkpoint.Tensor{"a": {Shape: []int{1}, F32: []float32{7}}}}
	if err := f.Keep(first); err != nil {
		t.Fatal(err)
	}
	before := tree(t, f.Path)

	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Skip(err)
	}
	small := old
	small.Cur = 1 << 20 // above what go test writes itself
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &small); err != nil {
		t.Skip(err)
	}
	err := f.Keep(Snapshot{Seed: 1, Stage: "cem", Done: 2, Tensors: map[string]checkpoint.Tensor{"a": {Shape: []int{1 << 19}, F32: make([]float32, 1<<19)}}})
	if back := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old); back != nil {
		t.Fatal(back)
	}
	oracle.WantError(t, err, "state.safetensors", syscall.EFBIG.Error())
	if d := cmp.Diff(before, tree(t, f.Path)); d != "" {
		t.Errorf("the folder has changed (-before +after):\n%s", d)
	}
	f, _ = reopened(t, f)
	if d := cmp.Diff(&first, f.Resumed(1, "", "cem")); d != "" {
		t.Errorf("snapshot (-kept +found):\n%s", d)
	}
}
