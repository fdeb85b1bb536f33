package data

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tinyMNIST is the tiny set as a Set, with the content of its files gzipped.
func tinyMNIST() (s Set, content [4][]byte) {
	files, plain := tinySet()
	for i := range files {
		content[i] = gz(plain[i])
		files[i].size = int64(len(content[i]))
	}
	return Set{
		Name: "tiny", find: func(dir string) ([]verified, error) { return verifyMNIST(dir, files) },
		published: publishedMNIST(files),
	}, content
}

func folder(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		out[e.Name()] = string(b)
	}
	return out
}

func TestSets(t *testing.T) {
	for _, s := range Sets() {
		found, err := Find(s.Name)
		if err != nil || found.Name != s.Name || s.About == "" || s.Bytes == 0 {
			t.Errorf("Find(%q) = %+v, %v", s.Name, found, err)
		}
		if err := s.Check(t.TempDir()); !errors.Is(err, ErrMissing) {
			t.Errorf("%s in an empty folder: %v, want ErrMissing", s.Name, err)
		}
	}
	_, err := Find("minst")
	if !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), `"minst"`) || !strings.Contains(err.Error(), "mnist") {
		t.Errorf("err = %v, want ErrUnknown, the name and the names that there are", err)
	}
	var total int64
	for _, f := range mnistSet.published {
		total += f.size
	}
	if total != mnistSet.Bytes {
		t.Errorf("the files of MNIST have %d bytes, want %d", total, mnistSet.Bytes)
	}
}

func TestDir(t *testing.T) {
	t.Setenv("DOOB_DATA", filepath.Join("some", "where"))
	if dir, err := Dir("mnist"); err != nil || dir != filepath.Join("some", "where", "mnist") {
		t.Errorf("Dir = %s, %v", dir, err)
	}
	t.Setenv("DOOB_DATA", "")
	caches, err := os.UserCacheDir()
	if err != nil {
		t.Skip("no folder for caches")
	}
	if dir, err := Dir("mnist"); err != nil || dir != filepath.Join(caches, "doob", "mnist") {
		t.Errorf("Dir = %s, %v", dir, err)
	}
}

func TestCopy(t *testing.T) {
	s, content := tinyMNIST()
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "new", "folder")
	want := map[string]string{}
	for i, f := range s.published {
		write(t, from, f.name, content[i])
		want[f.name] = string(content[i])
	}
	write(t, from, "other.txt", []byte("not a part of it"))
	var seen []Progress
	if err := s.Copy(t.Context(), from, to, func(p Progress) { seen = append(seen, p) }); err != nil {
		t.Fatal(err)
	}
	got := folder(t, to)
	for _, f := range s.published {
		if line := f.sum + "  " + f.name + "\n"; !strings.Contains(got[sumsFile], line) {
			t.Errorf("%s lacks %q:\n%s", sumsFile, line, got[sumsFile])
		}
	}
	delete(got, sumsFile)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("copy (-want +got):\n%s", d)
	}
	if err := s.Check(to); err != nil {
		t.Error(err)
	}
	if last := seen[len(seen)-1]; last != (Progress{s.published[3].name, s.published[3].size, s.published[3].size}) {
		t.Errorf("the last progress is %+v", last)
	}
	// Onto itself and once more: no harm.
	for _, again := range []string{to, from} {
		if err := s.Copy(t.Context(), again, to, func(Progress) {}); err != nil {
			t.Error(err)
		}
	}
	if err := s.Check(to); err != nil {
		t.Error(err)
	}
}

func TestCopyErrors(t *testing.T) {
	s, content := tinyMNIST()
	whole, altered, to := t.TempDir(), t.TempDir(), filepath.Join(t.TempDir(), "to")
	for i, f := range s.published {
		write(t, whole, f.name, content[i])
		write(t, altered, f.name, content[i])
	}
	write(t, altered, s.published[3].name, gz(idxBytes([]byte{5, 5}, 2)))
	for _, from := range []string{altered, t.TempDir()} {
		if err := s.Copy(t.Context(), from, to, func(Progress) {}); !errors.Is(err, ErrChecksum) && !errors.Is(err, ErrMissing) {
			t.Errorf("err = %v, want ErrChecksum or ErrMissing", err)
		}
		if _, err := os.Stat(to); !os.IsNotExist(err) {
			t.Errorf("%s was made", to)
		}
	}
	// A file that changes between check and copy does not arrive.
	files, err := s.check(whole)
	if err != nil {
		t.Fatal(err)
	}
	write(t, whole, s.published[1].name, []byte("changed"))
	place := t.TempDir()
	if err := files[1].copyTo(t.Context(), filepath.Join(place, "f"), func(Progress) {}); !errors.Is(err, ErrChecksum) {
		t.Errorf("err = %v, want ErrChecksum", err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := files[0].copyTo(cancelled, filepath.Join(place, "f"), func(Progress) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v, want Canceled", err)
	}
	if left := folder(t, place); len(left) != 0 {
		t.Errorf("left over: %v", left)
	}
}
