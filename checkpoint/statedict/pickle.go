package statedict

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"unicode/utf8"
)

// What a pickle of a state dict is made of, beside string, int64, float64, bool and nil.
type (
	tuple  []any
	list   struct{ items []any }
	dict   struct{ items map[string]any }
	global string // "module name", of which nothing is ever called
)

// The functions whose results are understood.
const (
	orderedDict = global("collections OrderedDict")
	rebuild     = global("torch._utils _rebuild_tensor_v2")
	parameter   = global("torch._utils _rebuild_parameter")
)

// machine reads a pickle: a stack, places on it that are marked, and a memory. All three are bounded by the pickle's length, since one byte of it
// adds at most one thing to them.
type machine struct {
	code  []byte
	at    int // of the next operation
	stack []any
	marks []int
	memo  map[uint32]any
	size  func(storage string) (bytes int64, ok bool)
}

// stateDict runs a pickle and returns the tensors of the dictionary that it leaves. Size tells how many bytes a storage has.
func stateDict(code []byte, size func(string) (int64, bool)) (map[string]tensor, error) {
	m := &machine{code: code, memo: map[uint32]any{}, size: size}
	value, err := m.run()
	if err != nil {
		return nil, fmt.Errorf("byte %d of the pickle: %w", m.at, err)
	}
	d, ok := value.(*dict)
	if !ok {
		return nil, fmt.Errorf("%w: the pickle is %s, expected a dictionary of tensors", ErrRefused, describe(value))
	}
	tensors := make(map[string]tensor, len(d.items))
	for name, v := range d.items {
		t, ok := v.(tensor)
		if !ok {
			return nil, fmt.Errorf("%w: %q is %s, expected a tensor", ErrRefused, name, describe(v))
		}
		tensors[name] = t
	}
	return tensors, nil
}

func (m *machine) run() (any, error) {
	for {
		op, err := m.take(1)
		if err != nil {
			return nil, err
		}
		if op[0] == '.' {
			v, err := m.pop()
			switch rest := len(m.code) - m.at; {
			case err != nil:
				return nil, err
			case len(m.stack) > 0 || len(m.marks) > 0 || rest > 0:
				return nil, fmt.Errorf("%w: %d values, %d marks and %d bytes are left at the end", ErrCorrupt, len(m.stack), len(m.marks), rest)
			}
			return v, nil
		}
		if err := m.do(op[0]); err != nil {
			return nil, fmt.Errorf("operation %s: %w", opName(op[0]), err)
		}
	}
}

// take returns the next n bytes of the pickle.
func (m *machine) take(n int) ([]byte, error) {
	if n > len(m.code)-m.at {
		return nil, fmt.Errorf("%w: it ends %d bytes too early", ErrCorrupt, n-(len(m.code)-m.at))
	}
	b := m.code[m.at : m.at+n]
	m.at += n
	return b, nil
}

// number returns the next n bytes as an unsigned number, little endian.
func (m *machine) number(n int) (uint32, error) {
	b, err := m.take(n)
	if err != nil {
		return 0, err
	}
	var wide [4]byte
	copy(wide[:], b)
	return binary.LittleEndian.Uint32(wide[:]), nil
}

// text returns a string that its length of n bytes stands before.
func (m *machine) text(n int) (string, error) {
	length, err := m.number(n)
	if err != nil {
		return "", err
	}
	if int64(length) > int64(len(m.code)) {
		return "", fmt.Errorf("%w: a string of %d bytes in a pickle of %d", ErrCorrupt, length, len(m.code))
	}
	b, err := m.take(int(length))
	if err == nil && !utf8.Valid(b) {
		return "", fmt.Errorf("%w: a string is no UTF-8: %.40q", ErrCorrupt, b)
	}
	return string(b), err
}

// line returns what there is up to the next line feed.
func (m *machine) line() (string, error) {
	n := bytes.IndexByte(m.code[m.at:], '\n')
	if n < 0 {
		return "", fmt.Errorf("%w: it ends within a line", ErrCorrupt)
	}
	b, err := m.take(n + 1)
	return string(b[:n]), err
}

// long reads a whole number of as many bytes as the next one says, two's complement.
func (m *machine) long() (int64, error) {
	n, err := m.number(1)
	if err != nil {
		return 0, err
	}
	if n > 8 {
		return 0, fmt.Errorf("%w: a number of %d bytes, expected at most 8", ErrRefused, n)
	}
	b, err := m.take(int(n))
	if err != nil || n == 0 {
		return 0, err
	}
	v := uint64(0)
	if b[n-1] >= 0x80 {
		v = math.MaxUint64
	}
	for i := range b {
		v = v<<8 | uint64(b[len(b)-1-i])
	}
	return int64(v), nil
}

func (m *machine) push(v any) { m.stack = append(m.stack, v) }

// pop takes the top of the stack, which a mark protects what is below it of.
func (m *machine) pop() (any, error) {
	floor := 0
	if n := len(m.marks); n > 0 {
		floor = m.marks[n-1]
	}
	if len(m.stack) <= floor {
		return nil, fmt.Errorf("%w: the stack is empty", ErrCorrupt)
	}
	v := m.stack[len(m.stack)-1]
	m.stack = m.stack[:len(m.stack)-1]
	return v, nil
}

// popN takes the n values at the top, in the order in which they were pushed.
func (m *machine) popN(n int) ([]any, error) {
	out := make([]any, n)
	for i := range out {
		var err error
		if out[n-1-i], err = m.pop(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// popMark takes all values above the last mark, and the mark.
func (m *machine) popMark() ([]any, error) {
	if len(m.marks) == 0 {
		return nil, fmt.Errorf("%w: there is no mark", ErrCorrupt)
	}
	mark := m.marks[len(m.marks)-1]
	out := append([]any(nil), m.stack[mark:]...)
	m.stack, m.marks = m.stack[:mark], m.marks[:len(m.marks)-1]
	return out, nil
}

// describe names a value for an error, without what it contains.
func describe(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case string:
		return fmt.Sprintf("the string %.40q", v)
	case global:
		return "the name " + string(v)
	case tuple:
		return fmt.Sprintf("a tuple of %d", len(v))
	case *list:
		return fmt.Sprintf("a list of %d", len(v.items))
	case *dict:
		return fmt.Sprintf("a dictionary of %d", len(v.items))
	case tensor:
		return fmt.Sprintf("a tensor of shape %v", v.shape)
	case storage:
		return "a storage"
	}
	return fmt.Sprintf("%v", v)
}
