package textfile

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A text is the same with and without a mark, read at once or not; what is no text is refused by its name.
func TestRead(t *testing.T) {
	long := strings.Repeat("all work and no play\n", 1000)
	for content, want := range map[string]string{
		"": "", "a: 1\n": "a: 1\n", "\ufeffa: 1\n": "a: 1\n", "\ufeff": "", "\ufeff\ufeffb": "\ufeffb", "a\ufeff": "a\ufeff", "\ufeff" + long: long,
		"\xff\xfea\x00": "error: UTF-16", "\xfe\xff\x00a": "error: UTF-16",
		"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 492265168\n": "error: a text of 74 bytes in place of the file of 492265168 bytes: git lfs pull",
		"version https://git-lfs.github.com/spec/v1":                                    "error: a text of 42 bytes in place of the file: git lfs pull",
		"version of mine": "version of mine",
	} {
		path := filepath.Join(t.TempDir(), "x.yaml")
		if err := os.WriteFile(path, []byte(content), 0o666); err != nil {
			t.Fatal(err)
		}
		got, err := Read(path)
		check(t, content, want, string(got), err)
		if err != nil && !strings.HasPrefix(err.Error(), path) {
			t.Errorf("%.20q: %v does not name the file", content, err)
		}
		r, err := NewReader(strings.NewReader(content))
		if err == nil {
			got, err = io.ReadAll(r)
		}
		check(t, content, want, string(got), err)
	}
	if _, err := Read(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

func check(t *testing.T, content, want, got string, err error) {
	t.Helper()
	if words, ok := strings.CutPrefix(want, "error: "); ok {
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%.20q: error %v, want one with %q", content, err, words)
		}
	} else if err != nil || got != want {
		t.Errorf("%.20q: got %.20q, %v, want %.20q", content, got, err, want)
	}
}
