package statedict

import (
	"encoding/binary"
	"fmt"
	"math"
)

// do does one operation of a pickle. Those are here that torch.save uses for a state dict, and no other.
func (m *machine) do(op byte) error {
	switch op {
	case 0x80: // PROTO
		version, err := m.number(1)
		if err == nil && version != 2 {
			err = fmt.Errorf("%w: protocol %d, expected 2", ErrRefused, version)
		}
		return err
	case 'c': // GLOBAL
		return m.global()
	case '(': // MARK
		m.marks = append(m.marks, len(m.stack))
	case ')', 't', 0x85, 0x86, 0x87, ']', '}': // tuples, EMPTY_LIST, EMPTY_DICT
		return m.container(op)
	case 'K', 'M', 'J', 0x8a, 'G', 'X', 'U', 0x88, 0x89, 'N':
		v, err := m.constant(op)
		m.push(v)
		return err
	case 'q', 'r', 'h', 'j': // BINPUT, LONG_BINPUT, BINGET, LONG_BINGET
		return m.remember(op)
	case 'Q': // BINPERSID
		v, err := m.pop()
		if err != nil {
			return err
		}
		s, err := m.storage(v)
		m.push(s)
		return err
	case 'R': // REDUCE
		two, err := m.popN(2)
		if err != nil {
			return err
		}
		v, err := m.reduce(two[0], two[1])
		m.push(v)
		return err
	case 's': // SETITEM
		pair, err := m.popN(2)
		if err != nil {
			return err
		}
		return m.set(pair)
	case 'u': // SETITEMS
		pairs, err := m.popMark()
		if err != nil {
			return err
		}
		return m.set(pairs)
	case 'a': // APPEND
		one, err := m.popN(1)
		if err != nil {
			return err
		}
		return m.add(one)
	case 'e': // APPENDS
		values, err := m.popMark()
		if err != nil {
			return err
		}
		return m.add(values)
	case 'b': // BUILD gives a dictionary attributes: the versions of modules, which are dropped
		if _, err := m.pop(); err != nil {
			return err
		}
		_, err := m.dictionary()
		return err
	default:
		return fmt.Errorf("%w: a state dict has none such", ErrRefused)
	}
	return nil
}

// global pushes a name, if it is one that a state dict may have.
func (m *machine) global() error {
	module, err := m.line()
	if err != nil {
		return err
	}
	name, err := m.line()
	if err != nil {
		return err
	}
	g := global(module + " " + name)
	if _, ok := kinds[string(g)]; !ok && g != orderedDict && g != rebuild && g != parameter {
		return fmt.Errorf("%w: the file names %q of %q, which Python would load and could call; a state dict has no use for it", ErrRefused, name, module)
	}
	m.push(g)
	return nil
}

func (m *machine) container(op byte) (err error) {
	var items []any
	switch op {
	case ']':
		m.push(&list{})
		return nil
	case '}':
		m.push(&dict{})
		return nil
	case 0x85, 0x86, 0x87:
		items, err = m.popN(int(op) - 0x84)
	case 't':
		items, err = m.popMark()
	}
	m.push(tuple(items))
	return err
}

// constant reads a number, string or truth value.
func (m *machine) constant(op byte) (any, error) {
	switch op {
	case 'K', 'M': // BININT1, BININT2
		v, err := m.number(map[byte]int{'K': 1, 'M': 2}[op])
		return int64(v), err
	case 'J': // BININT
		v, err := m.number(4)
		return int64(int32(v)), err
	case 0x8a: // LONG1
		return m.long()
	case 'G': // BINFLOAT
		b, err := m.take(8)
		if err != nil {
			return nil, err
		}
		return math.Float64frombits(binary.BigEndian.Uint64(b)), nil
	case 'X': // BINUNICODE
		return m.text(4)
	case 'U': // SHORT_BINSTRING
		return m.text(1)
	case 0x88, 0x89: // NEWTRUE, NEWFALSE
		return op == 0x88, nil
	}
	return nil, nil // NONE
}

// remember copies the top of the stack to the memory, or back.
func (m *machine) remember(op byte) error {
	key, err := m.number(map[byte]int{'q': 1, 'h': 1, 'r': 4, 'j': 4}[op])
	if err != nil {
		return err
	}
	if op == 'q' || op == 'r' {
		v, err := m.pop()
		if err != nil {
			return err
		}
		m.memo[key] = v
		m.push(v)
		return nil
	}
	v, ok := m.memo[key]
	if !ok {
		return fmt.Errorf("%w: nothing has been remembered as %d", ErrCorrupt, key)
	}
	m.push(v)
	return nil
}

// dictionary returns the top of the stack, which must be one.
func (m *machine) dictionary() (*dict, error) {
	v, err := m.pop()
	if err != nil {
		return nil, err
	}
	m.push(v)
	d, ok := v.(*dict)
	if !ok {
		return nil, fmt.Errorf("%w: it is done to %s, expected a dictionary", ErrRefused, describe(v))
	}
	return d, nil
}

// set puts keys and values that follow each other into the dictionary at the top of the stack.
func (m *machine) set(pairs []any) error {
	d, err := m.dictionary()
	if err != nil {
		return err
	}
	if len(pairs)%2 != 0 {
		return fmt.Errorf("%w: %d keys and values, expected an even number", ErrCorrupt, len(pairs))
	}
	if d.items == nil && len(pairs) > 0 {
		d.items = map[string]any{}
	}
	for ; len(pairs) > 0; pairs = pairs[2:] {
		key, ok := pairs[0].(string)
		if !ok {
			return fmt.Errorf("%w: a key is %s, expected a string", ErrRefused, describe(pairs[0]))
		}
		if _, ok := d.items[key]; ok {
			return fmt.Errorf("%w: key %q is there twice", ErrCorrupt, key)
		}
		d.items[key] = pairs[1]
	}
	return nil
}

// add appends to the list at the top of the stack.
func (m *machine) add(values []any) error {
	v, err := m.pop()
	if err != nil {
		return err
	}
	m.push(v)
	l, ok := v.(*list)
	if !ok {
		return fmt.Errorf("%w: it is done to %s, expected a list", ErrRefused, describe(v))
	}
	l.items = append(l.items, values...)
	return nil
}
