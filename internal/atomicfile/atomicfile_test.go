package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// names lists a folder, to see that nothing was left behind.
func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var n []string
	for _, e := range entries {
		n = append(n, e.Name())
	}
	return strings.Join(n, " ")
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.txt")
	for _, want := range []string{"first", "second, longer", ""} {
		if err := Write(path, []byte(want)); err != nil {
			t.Fatal(err)
		}
		if got, _ := os.ReadFile(path); string(got) != want {
			t.Errorf("read %q, want %q", got, want)
		}
	}
	if got := names(t, dir); got != "a.txt" {
		t.Errorf("the folder holds %q", got)
	}
}

func TestWriteErrors(t *testing.T) {
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, "file"), nil, 0o644)
	os.MkdirAll(filepath.Join(dir, "folder", "full"), 0o755)
	for path, want := range map[string]error{
		"missing/a.txt": fs.ErrNotExist,
		"file/a.txt":    nil, // not a folder
		"folder":        nil, // cannot be replaced by a file
	} {
		path := filepath.Join(dir, path)
		err := Write(path, []byte("x"))
		if err == nil || !strings.Contains(err.Error(), path) || want != nil && !errors.Is(err, want) {
			t.Errorf("writing %s: %v", path, err)
		}
	}
	if got := names(t, dir); got != "file folder" {
		t.Errorf("the folder holds %q, want what it held before", got)
	}
}

func TestWriteTogether(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if err := Write(path, []byte(strings.Repeat(string(rune('a'+i)), 10_000))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	got, _ := os.ReadFile(path)
	if len(got) != 10_000 || strings.Trim(string(got), string(got[:1])) != "" {
		t.Errorf("the file is a mixture of %d bytes", len(got))
	}
	if got := names(t, dir); got != "a" {
		t.Errorf("the folder holds %q", got)
	}
}
