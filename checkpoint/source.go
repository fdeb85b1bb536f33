package checkpoint

// Source is where tensors are read from, one at a time. Several may be read at once.
type Source interface {
	// Path returns what was opened.
	Path() string
	// Names returns the names of all tensors, sorted.
	Names() []string
	// Info returns dtype and shape of a tensor, and false if there is none of that name.
	Info(name string) (Info, bool)
	// Tensor reads a tensor.
	Tensor(name string) (Tensor, error)
	// Close closes the files. Tensors that were read stay.
	Close() error
}

var _ Source = (*Reader)(nil)
