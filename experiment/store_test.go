package experiment_test

import (
	"path/filepath"
	"testing"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/internal/oracle"
)

// The store of trained networks is a cache: a run ends the same with it, without it, and with what others have left in it.
func TestStore(t *testing.T) {
	sets := append([]string{"methods=[base]"}, plain...)
	stored := func(d done) (from int, warnings string) {
		for _, ev := range d.events {
			if ev.Result != nil && ev.Result["stored"].Value == 1 {
				from++
			}
			warnings += ev.Warning
		}
		return from, warnings
	}
	dir := t.TempDir()
	t.Setenv("DOOB_DATA", dir)
	first := run(t, tiny(t, "toy", sets...), "cpu")
	if n, warning := stored(first); n != 0 || warning != "" {
		t.Errorf("an empty store has %d networks; %s", n, warning)
	}
	if n, _ := stored(run(t, tiny(t, "toy", sets...), "cpu")); n != 1 {
		t.Errorf("%d networks come from the store, want 1", n)
	}
	want := outcome(t, first.folder)
	for what, change := range map[string]string{"another seed": "seed=2", "other data": "prior.means=[[0, 0, 0], [1, 0, 0]]", "other training": "pretrain.steps=21",
		"another size": "network.width=9", "another process": "process.beta1=19"} {
		if n, _ := stored(run(t, tiny(t, "toy", append(sets, change)...), "cpu")); n != 0 {
			t.Errorf("%s: the network comes from the store", what)
		}
	}

	// It is out of reach.
	write(t, filepath.Join(dir, "file"), "")
	for what, setup := range map[string]func(){
		"a file":   func() { t.Setenv("DOOB_DATA", filepath.Join(dir, "file")) },
		"no place": func() { t.Setenv("DOOB_DATA", ""); t.Setenv("HOME", ""); t.Setenv("XDG_CACHE_HOME", "") },
	} {
		setup()
		d := run(t, tiny(t, "toy", sets...), "cpu")
		if _, warning := stored(d); warning == "" {
			t.Errorf("%s: no warning", what)
		}
		same(t, what, want, outcome(t, d.folder))
	}

	// What is in it is damaged, or no such network: it is trained anew, and stored.
	t.Setenv("DOOB_DATA", dir)
	file := storedFile(t, dir, first)
	whole := oracle.Read(t, file)
	for what, damage := range map[string]func(){
		"half": func() { write(t, file, whole[:len(whole)/2]) },
		"another network": func() {
			if err := checkpoint.Save(file, checkpoint.File{Tensors: map[string]checkpoint.Tensor{"ema/base/out/bias": {Shape: []int{7}, F32: make([]float32, 7)}}}); err != nil {
				t.Fatal(err)
			}
		},
	} {
		damage()
		d := run(t, tiny(t, "toy", sets...), "cpu")
		same(t, what, want, outcome(t, d.folder))
		if n, _ := stored(d); n != 0 || oracle.Read(t, file) != whole {
			t.Errorf("%s: the store is not repaired", what)
		}
	}
}

// storedFile is the file in the store of the network of a run.
func storedFile(t *testing.T, dir string, d done) string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, "networks", "*.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	own := oracle.Read(t, filepath.Join(d.folder, "checkpoint", "base.safetensors"))
	for _, file := range all {
		if oracle.Read(t, file) == own {
			return file
		}
	}
	t.Fatalf("the network is none of %v", all)
	return ""
}
