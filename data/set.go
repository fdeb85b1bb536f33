package data

import (
	"bufio"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/doob-diffusion/doob/internal/atomicfile"
)

// ErrUnknown reports a name that no data set has.
var ErrUnknown = errors.New("unknown data set")

// A Set is a data set that is kept in files.
type Set struct {
	Name  string
	About string // one line
	Bytes int64  // of all files together

	// find returns the files of the set in a folder, after reading all of them. What is not there is ErrMissing.
	find func(dir string) ([]verified, error)
	// published are the files to download, below each of the mirrors.
	published []published
	mirrors   []string // addresses that end in a slash
	// derive makes the files of the set from the published ones in the same folder. It is nil if those are the set.
	derive func(ctx context.Context, dir string, observe func(Progress)) error
}

// verified is a file that holds what it should.
type verified struct{ path, sum string }

// Progress is how far the file that is copied or downloaded is.
type Progress struct {
	File        string
	Done, Total int64 // bytes
}

// Sets lists the data sets by name.
func Sets() []Set { return []Set{flowersSet, mnistSet} }

// Find returns the data set of a name, or [ErrUnknown].
func Find(name string) (Set, error) {
	var names []string
	for _, s := range Sets() {
		if s.Name == name {
			return s, nil
		}
		names = append(names, s.Name)
	}
	return Set{}, fmt.Errorf("%w: got %q, expected one of %s", ErrUnknown, name, strings.Join(names, ", "))
}

// Dir returns the folder of a data set in the store. The store is $DOOB_DATA if that is set, else the folder doob among
// the user's caches.
func Dir(name string) (string, error) {
	if store := os.Getenv("DOOB_DATA"); store != "" {
		return filepath.Join(store, name), nil
	}
	caches, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no place for data: %w; set DOOB_DATA to a folder", err)
	}
	return filepath.Join(caches, "doob", name), nil
}

// Check reads all files of the set in dir and reports what is missing ([ErrMissing]), altered ([ErrChecksum]), or
// otherwise not as it should be.
func (s Set) Check(dir string) error {
	_, err := s.check(dir)
	return err
}

func (s Set) check(dir string) ([]verified, error) {
	files, err := s.find(dir)
	if err != nil {
		return nil, fmt.Errorf("check %s: %w", s.Name, err)
	}
	return files, nil
}

// Copy checks the files of the set in the folder from and copies them into the folder to, which is made if need be, with
// their SHA-256 sums beside them. A file appears there whole and with the right sum, or not at all.
func (s Set) Copy(ctx context.Context, from, to string, observe func(Progress)) error {
	files, err := s.check(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o777); err != nil {
		return err
	}
	if a, err := os.Stat(from); err == nil {
		if b, err := os.Stat(to); err == nil && os.SameFile(a, b) {
			return nil // all there
		}
	}
	for _, f := range files {
		if err := f.copyTo(ctx, filepath.Join(to, filepath.Base(f.path)), observe); err != nil {
			return fmt.Errorf("copy %s: %w", s.Name, err)
		}
	}
	return writeSums(to, files)
}

func (f verified) copyTo(ctx context.Context, path string, observe func(Progress)) error {
	in, err := os.Open(f.path)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	return atomicfile.WriteFunc(path, func(w io.Writer) error {
		sum := sha256.New()
		p := Progress{File: filepath.Base(path), Total: info.Size()}
		observe(p)
		_, err := io.Copy(io.MultiWriter(w, sum), readFunc(func(b []byte) (int, error) {
			if err := ctx.Err(); err != nil {
				return 0, err
			}
			n, err := in.Read(b)
			if p.Done += int64(n); n > 0 {
				observe(p)
			}
			return n, err
		}))
		if err != nil {
			return err
		}
		return verify(sum, f.sum)
	})
}

// readFunc is a function as an io.Reader.
type readFunc func([]byte) (int, error)

func (f readFunc) Read(b []byte) (int, error) { return f(b) }

// sumsFile lists the SHA-256 sums of the files beside it, as the program sha256sum writes and checks them.
const sumsFile = "SHA256SUMS"

func writeSums(dir string, files []verified) error {
	var text strings.Builder
	for _, f := range files {
		fmt.Fprintf(&text, "%s  %s\n", f.sum, filepath.Base(f.path))
	}
	return atomicfile.Write(filepath.Join(dir, sumsFile), []byte(text.String()))
}

// readSums returns the sums in dir by file name; none if there is no such list.
func readSums(dir string) (map[string]string, error) {
	f, err := os.Open(filepath.Join(dir, sumsFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	sums := map[string]string{}
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 {
			continue
		}
		if len(fields) != 2 || len(fields[0]) != 2*sha256.Size {
			return nil, fmt.Errorf("%s, line %d: got %q, expected a SHA-256 sum and a file name", f.Name(), n, lines.Text())
		}
		sums[strings.TrimPrefix(fields[1], "*")] = strings.ToLower(fields[0])
	}
	return sums, lines.Err()
}

// hashes reports whether the file at path has a sum.
func hashes(path, want string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	sum := sha256.New()
	if len(want) == 2*sha1.Size { // Git's name for a content: SHA-1 of a line that says how long it is, and of the content
		sum = sha1.New()
		info, err := f.Stat()
		if err != nil {
			return err
		}
		fmt.Fprintf(sum, "blob %d\x00", info.Size())
	}
	if _, err := io.Copy(sum, f); err != nil {
		return err
	}
	return verify(sum, want)
}
