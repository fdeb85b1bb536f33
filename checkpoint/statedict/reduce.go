package statedict

import "fmt"

// storage reads what a pickle says of a storage: ('storage', class, key, device, count).
func (m *machine) storage(v any) (storage, error) {
	var s storage
	if t, ok := v.(tuple); ok && len(t) == 5 && t[0] == "storage" {
		class, okClass := t[1].(global)
		k, okKind := kinds[string(class)]
		key, okKey := t[2].(string)
		count, okCount := t[4].(int64)
		if okClass && okKind && okKey && okCount && count >= 0 {
			s = storage{k, key, count}
		}
	}
	if s.kind.size == 0 {
		return storage{}, fmt.Errorf("%w: got %s, expected ('storage', class, key, device, count)", ErrRefused, describe(v))
	}
	size, ok := m.size(s.key)
	if !ok {
		return storage{}, fmt.Errorf("%w: there is no storage %q in the file", ErrCorrupt, s.key)
	}
	if s.count > size/int64(s.kind.size) || s.count*int64(s.kind.size) != size {
		return storage{}, fmt.Errorf("%w: storage %q has %d bytes, expected those of %d numbers of %s", ErrCorrupt, s.key, size, s.count, s.kind.name)
	}
	return s, nil
}

// reduce returns what Python would get by calling a function with arguments, of the three that a state dict needs.
func (m *machine) reduce(function, arguments any) (any, error) {
	args, ok := arguments.(tuple)
	if !ok {
		return nil, fmt.Errorf("%w: the arguments are %s, expected a tuple", ErrCorrupt, describe(arguments))
	}
	switch {
	case function == orderedDict && len(args) == 0:
		return &dict{}, nil
	case function == parameter && len(args) == 3: // the tensor, whether it is trained, hooks
		if t, ok := args[0].(tensor); ok {
			return t, nil
		}
	case function == rebuild && (len(args) == 6 || len(args) == 7): // the last one is metadata
		s, okStorage := args[0].(storage)
		offset, okOffset := args[1].(int64)
		shape, okShape := numbers(args[2])
		strides, okStrides := numbers(args[3])
		if okStorage && okOffset && okShape && okStrides {
			return newTensor(s, offset, shape, strides)
		}
	}
	return nil, fmt.Errorf("%w: a call of %s with %s, expected one of what makes dictionaries and tensors", ErrRefused, describe(function), describe(arguments))
}

func numbers(v any) ([]int64, bool) {
	t, ok := v.(tuple)
	out := make([]int64, len(t))
	for i, v := range t {
		n, isNumber := v.(int64)
		out[i], ok = n, ok && isNumber
	}
	return out, ok
}
