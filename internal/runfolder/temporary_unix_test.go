//go:build unix && !aix && !solaris

package runfolder

import (
	"os"
	"path/filepath"
	"testing"
)

// Of temporary folders that are left over, those of processes that are gone are removed, and others are not.
func TestTemporary(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	mine, remove, err := Temporary("doob-")
	if err != nil {
		t.Fatal(err)
	}
	dead := filepath.Join(os.TempDir(), "doob-dead")
	for _, file := range []string{filepath.Join(dead, "LOCK"), filepath.Join(dead, "large", "file"), filepath.Join(os.TempDir(), "doob-else", "file"), filepath.Join(os.TempDir(), "another", "LOCK")} {
		if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, nil, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	other, removeOther, err := Temporary("doob-")
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{mine: true, other: true, dead: false, filepath.Join(os.TempDir(), "doob-else"): true, filepath.Join(os.TempDir(), "another"): true} {
		if exists(path) != want {
			t.Errorf("%s is there: %t, want %t", path, !want, want)
		}
	}
	for _, remove := range []func() error{remove, removeOther} {
		if err := remove(); err != nil {
			t.Error(err)
		}
	}
	if exists(mine) || exists(other) {
		t.Error("what was removed is still there")
	}
}
