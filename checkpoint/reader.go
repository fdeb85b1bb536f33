package checkpoint

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Reader reads single tensors of a file, or of a model in several files. Opening one reads and checks the headers only.
// Tensors may be read at the same time.
type Reader struct {
	path     string // what was opened
	shards   []*shard
	paths    []string // of the shards
	at       map[string]place
	metadata map[string]string
}

// place is where a tensor lies: a shard, and an entry of its header.
type place struct {
	shard int
	entry entry
}

// Info is what a header says of a tensor.
type Info struct {
	DType DType
	Shape []int
}

// Open opens the safetensors file at path. It checks the whole header against the size of the file; a file that fails a
// check gives ErrCorrupt, an element type it does not know ErrDType.
func Open(path string) (*Reader, error) {
	r := newReader(path)
	if err := r.open(path); err != nil {
		return nil, fmt.Errorf("open checkpoint %s: %w", path, err)
	}
	r.metadata = r.shards[0].metadata
	for _, e := range r.shards[0].entries {
		r.at[e.name] = place{0, e}
	}
	return r, nil
}

func newReader(path string) *Reader { return &Reader{path: path, at: map[string]place{}} }

// open adds the file at path.
func (r *Reader) open(path string) error {
	s, err := openShard(path)
	if err != nil {
		return err
	}
	r.shards, r.paths = append(r.shards, s), append(r.paths, path)
	return nil
}

// Names returns the names of all tensors, sorted.
func (r *Reader) Names() []string { return slices.Sorted(maps.Keys(r.at)) }

// Path returns what was opened: a file, or the index of several.
func (r *Reader) Path() string { return r.path }

// Info returns what the header says of a tensor, and false if there is none of that name.
func (r *Reader) Info(name string) (Info, bool) {
	p, ok := r.at[name]
	return Info{DType: p.entry.dtype, Shape: slices.Clone(p.entry.shape)}, ok
}

// Metadata returns the file's own strings. Of a model in several files they are those on which all files agree.
func (r *Reader) Metadata() map[string]string { return maps.Clone(r.metadata) }

// Tensor reads a tensor. A file that has shrunk since it was opened gives ErrCorrupt.
func (r *Reader) Tensor(name string) (Tensor, error) {
	p, ok := r.at[name]
	if !ok {
		return Tensor{}, fmt.Errorf("read checkpoint %s: got no tensor %q, expected one of its %d", r.path, name, len(r.at))
	}
	t, err := r.shards[p.shard].tensor(p.entry)
	if err != nil {
		return Tensor{}, fmt.Errorf("read checkpoint %s: tensor %q: %w", r.paths[p.shard], name, err)
	}
	return t, nil
}

// Close closes the files. Tensors that were read stay.
func (r *Reader) Close() error {
	var errs []error
	for _, s := range r.shards {
		errs = append(errs, s.close())
	}
	return errors.Join(errs...)
}
