package checkpoint

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf8"
)

const (
	metadataKey = "__metadata__"
	// maxHeader is the reference implementation's limit: a longer header could not be read back by it.
	maxHeader = 100_000_000
)

// parseHeader reads the JSON token by token: decoding into structs would let duplicate keys, null and letter case pass.
func parseHeader(head []byte) ([]entry, map[string]string, error) {
	if !utf8.Valid(head) {
		return nil, nil, corrupt("header is not valid UTF-8")
	}
	p := parser{json.NewDecoder(bytes.NewReader(head))}
	p.UseNumber()
	var entries []entry
	metadata := map[string]string{}
	err := p.object(func(name string) (err error) {
		if name == metadataKey {
			return p.object(func(key string) (err error) {
				metadata[key], err = p.text()
				return err
			})
		}
		e, err := p.entry(name)
		entries = append(entries, e)
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("%w: header, near byte %d: %w", ErrCorrupt, p.InputOffset(), err)
	}
	if rest := bytes.Trim(head[p.InputOffset():], " "); len(rest) > 0 {
		return nil, nil, corrupt("header has %q after its JSON, expected only spaces", rest[:min(20, len(rest))])
	}
	return entries, metadata, nil
}

type parser struct{ *json.Decoder }

// entry reads {"dtype":…,"shape":…,"data_offsets":[begin,end]}.
func (p parser) entry(name string) (entry, error) {
	e := entry{name: name}
	fields := 0
	err := p.object(func(key string) (err error) {
		fields++
		switch key {
		case "dtype":
			var s string
			s, err = p.text()
			e.dtype = DType(s)
		case "shape":
			e.shape, err = p.ints()
		case "data_offsets":
			var at []int
			if at, err = p.ints(); err == nil && len(at) != 2 {
				return fmt.Errorf("got %d data_offsets, expected 2", len(at))
			}
			if err == nil {
				e.begin, e.end = at[0], at[1]
			}
		default:
			err = fmt.Errorf("unknown key %q, expected dtype, shape or data_offsets", key)
		}
		return err
	})
	if err == nil && fields != 3 {
		err = fmt.Errorf("got %d keys, expected dtype, shape and data_offsets", fields)
	}
	if err != nil {
		return e, fmt.Errorf("tensor %q: %w", name, err)
	}
	return e, nil
}

// object calls value at every value of an object, which must consume it.
func (p parser) object(value func(key string) error) error {
	if err := p.delim('{'); err != nil {
		return err
	}
	seen := map[string]bool{}
	for p.More() {
		key, err := p.text()
		if err != nil {
			return err
		}
		if seen[key] {
			return fmt.Errorf("key %q appears twice", key)
		}
		seen[key] = true
		if err := value(key); err != nil {
			return err
		}
	}
	return p.delim('}')
}

// ints reads an array of non-negative integers; the result is never nil.
func (p parser) ints() ([]int, error) {
	if err := p.delim('['); err != nil {
		return nil, err
	}
	list := []int{}
	for p.More() {
		tok, err := p.Token()
		if err != nil {
			return nil, err
		}
		num, ok := tok.(json.Number)
		if !ok {
			return nil, fmt.Errorf("got %v, expected an integer", tok)
		}
		v, err := num.Int64()
		if err != nil || v < 0 || int64(int(v)) != v {
			return nil, fmt.Errorf("got %v, expected an integer that is not negative", num)
		}
		list = append(list, int(v))
	}
	return list, p.delim(']')
}

func (p parser) text() (string, error) {
	tok, err := p.Token()
	if err != nil {
		return "", err
	}
	s, ok := tok.(string)
	if !ok {
		return "", fmt.Errorf("got %v, expected a string", tok)
	}
	return s, nil
}

func (p parser) delim(want json.Delim) error {
	tok, err := p.Token()
	if err != nil {
		return err
	}
	if tok != want {
		return fmt.Errorf("got %v, expected %v", tok, want)
	}
	return nil
}
