// Package statedict reads the tensors of a PyTorch state dict, a file .pt, .pth or .bin as torch.save writes it since version 1.6:
//
//	prefix/data.pkl      a pickle of names, and of where each tensor lies
//	prefix/data/0 …      the numbers, little endian, one file a storage
//	prefix/byteorder     "little", if it is there
//
// in a zip archive without compression. A pickle is a program, and Python runs whatever function it names. Here nothing is ever called: of the
// operations and names of a pickle those are understood that a state dict needs, and any other is an error that names it. All sizes are checked
// against that of the file before memory is taken.
package statedict

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/internal/textfile"
)

var (
	// ErrRefused reports a file that has more in it than the tensors of a state dict, such as a call of a function, or is of another format.
	ErrRefused = errors.New("refused")
	// ErrCorrupt reports a file that contradicts itself.
	ErrCorrupt = errors.New("corrupt state dict")
)

// maxPickle is more than the names and places of 100,000 tensors take.
const maxPickle = 16 << 20

// File is an open state dict. Tensors may be read at the same time.
type File struct {
	path     string
	close    func() error
	tensors  map[string]tensor
	storages map[string]*zip.File
}

var _ checkpoint.Source = (*File)(nil)

// Open opens the state dict at path. It reads the names and places of tensors, and none of their numbers.
func Open(path string) (*File, error) {
	f, err := open(path)
	if err != nil {
		return nil, fmt.Errorf("open state dict %s: %w", path, err)
	}
	return f, nil
}

func open(path string) (*File, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("got %s, expected a regular file", info.Mode().Type())
	}
	var f *File
	if err == nil {
		f, err = newFile(file, info.Size())
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	f.path, f.close = path, file.Close
	return f, nil
}

// newFile reads what is in a file of size bytes.
func newFile(r io.ReaderAt, size int64) (*File, error) {
	begin := make([]byte, min(size, 1024))
	if _, err := r.ReadAt(begin, 0); err != nil && err != io.EOF {
		return nil, err
	}
	if err := textfile.Pointer(begin, size); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if magic := begin[:min(4, len(begin))]; string(magic) != "PK\x03\x04" {
		return nil, fmt.Errorf("%w: it begins with %q and is no zip archive: expected the format of PyTorch 1.6 and later; torch.save(torch.load(OLD), NEW) writes it",
			ErrRefused, magic)
	}
	archive, err := zip.NewReader(r, size)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	members := map[string]*zip.File{}
	prefix := ""
	for _, m := range archive.File {
		if _, ok := members[m.Name]; ok {
			return nil, fmt.Errorf("%w: member %q is there twice", ErrCorrupt, m.Name)
		}
		if m.UncompressedSize64 > uint64(size) {
			return nil, fmt.Errorf("%w: member %q has %d bytes in a file of %d", ErrCorrupt, m.Name, m.UncompressedSize64, size)
		}
		if m.Method != zip.Store {
			return nil, fmt.Errorf("%w: member %q is compressed, expected none to be", ErrRefused, m.Name)
		}
		members[m.Name] = m
		if p, ok := strings.CutSuffix(m.Name, "data.pkl"); ok && (prefix == "" || len(p) < len(prefix)) {
			prefix = p
		}
	}
	if _, script := members[prefix+"constants.pkl"]; script {
		return nil, fmt.Errorf("%w: it is a TorchScript archive, a program; expected a state dict: torch.save(model.state_dict(), NEW) writes one", ErrRefused)
	}
	pickle, err := small(members, prefix+"data.pkl", maxPickle)
	if err != nil {
		return nil, err
	}
	if order, err := small(members, prefix+"byteorder", 16); err == nil && string(order) != "little" {
		return nil, fmt.Errorf("%w: its byte order is %q, expected little", ErrRefused, order)
	}
	f := &File{close: func() error { return nil }, storages: map[string]*zip.File{}}
	for name, m := range members {
		if key, ok := strings.CutPrefix(name, prefix+"data/"); ok {
			f.storages[key] = m
		}
	}
	f.tensors, err = stateDict(pickle, func(key string) (int64, bool) {
		m, ok := f.storages[key]
		if !ok {
			return 0, false
		}
		return int64(m.UncompressedSize64), true
	})
	return f, err
}

// small reads a member of at most so many bytes.
func small(members map[string]*zip.File, name string, limit uint64) ([]byte, error) {
	m, ok := members[name]
	if !ok {
		return nil, fmt.Errorf("%w: the archive has no member %q", ErrCorrupt, name)
	}
	if m.UncompressedSize64 > limit {
		return nil, fmt.Errorf("%w: %s has %d bytes, expected at most %d", ErrRefused, name, m.UncompressedSize64, limit)
	}
	return contents(m)
}

// contents reads a member and checks its sum.
func contents(m *zip.File) ([]byte, error) {
	r, err := m.Open()
	if err != nil {
		return nil, fmt.Errorf("%w: member %q: %w", ErrCorrupt, m.Name, err)
	}
	b := make([]byte, m.UncompressedSize64)
	if _, err = io.ReadFull(r, b); err == nil {
		_, err = io.Copy(io.Discard, r) // the sum is checked at the end
	}
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, fmt.Errorf("%w: member %q: %w", ErrCorrupt, m.Name, err)
	}
	return b, nil
}

// Path returns what was opened.
func (f *File) Path() string { return f.path }

// Names returns the names of all tensors, sorted.
func (f *File) Names() []string { return slices.Sorted(maps.Keys(f.tensors)) }

// Info returns dtype and shape of a tensor, and false if there is none of that name. What has 32 bits or is a truth value counts as I64.
func (f *File) Info(name string) (checkpoint.Info, bool) {
	t, ok := f.tensors[name]
	return checkpoint.Info{DType: t.kind.dtype, Shape: slices.Clone(t.shape)}, ok
}

// Tensor reads a tensor, row-major whatever its strides.
func (f *File) Tensor(name string) (checkpoint.Tensor, error) {
	t, ok := f.tensors[name]
	if !ok {
		return checkpoint.Tensor{}, fmt.Errorf("read state dict %s: got no tensor %q, expected one of its %d", f.path, name, len(f.tensors))
	}
	b, err := contents(f.storages[t.key])
	if err != nil {
		return checkpoint.Tensor{}, fmt.Errorf("read state dict %s: tensor %q: %w", f.path, name, err)
	}
	return t.decode(b), nil
}

// Close closes the file. Tensors that were read stay.
func (f *File) Close() error { return f.close() }
