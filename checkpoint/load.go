package checkpoint

import (
	"fmt"
	"io"
)

// Load reads all of the file at path. It checks the whole header against the size of the file before it allocates a
// tensor; a file that fails a check gives ErrCorrupt, an element type it does not know ErrDType.
func Load(path string) (File, error) {
	f, err := load(path)
	if err != nil {
		return File{}, fmt.Errorf("load checkpoint %s: %w", path, err)
	}
	return f, nil
}

func load(path string) (File, error) {
	s, err := openShard(path)
	if err != nil {
		return File{}, err
	}
	defer s.close()
	return s.all()
}

// Read is [Load] of what [Write] has written: size bytes in all.
func Read(r io.ReaderAt, size int64) (File, error) {
	s, err := newShard(r, size)
	if err != nil {
		return File{}, err
	}
	return s.all()
}

func (s *shard) all() (File, error) {
	f := File{Tensors: make(map[string]Tensor, len(s.entries)), Metadata: s.metadata}
	for _, e := range s.entries {
		t, err := s.tensor(e)
		if err != nil {
			return File{}, err
		}
		f.Tensors[e.name] = t
	}
	return f, nil
}
