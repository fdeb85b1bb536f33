package sd

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/doob-diffusion/doob/internal/textfile"
)

// settings are the keys of a config.json. What is wrong with them is collected, so that a user sees all of it at once.
type settings struct {
	path   string
	values map[string]json.RawMessage
	errs   []error
}

func readSettings(path string) (*settings, error) {
	b, err := textfile.Read(path)
	if err != nil {
		return nil, err
	}
	s := &settings{path: path}
	if err := json.Unmarshal(b, &s.values); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrConfig, path, err)
	}
	return s, nil
}

// part returns the settings of a part, which are the value of a key; its errors are its own.
func (s *settings) part(key string) *settings {
	return &settings{path: s.path + ", " + key, values: get(s, key, map[string]json.RawMessage(nil))}
}

// err returns all that was found wrong.
func (s *settings) err() error { return errors.Join(s.errs...) }

func (s *settings) fail(kind error, format string, args ...any) {
	s.errs = append(s.errs, fmt.Errorf("%w: %s: %w", kind, s.path, fmt.Errorf(format, args...)))
}

// has reports whether a key is there and not null.
func (s *settings) has(key string) bool {
	v, ok := s.values[key]
	return ok && string(v) != "null"
}

// get returns the value of a key, and the class's default where there is none.
func get[T any](s *settings, key string, missing T) T {
	if !s.has(key) {
		return missing
	}
	var v T
	if err := json.Unmarshal(s.values[key], &v); err != nil {
		s.fail(ErrConfig, "%s is %s, expected %s", key, s.values[key], kindName(missing))
		return missing
	}
	return v
}

func kindName(v any) string {
	switch v.(type) {
	case int:
		return "a whole number"
	case float64:
		return "a number"
	case bool:
		return "true or false"
	case []int:
		return "a list of whole numbers"
	case []string:
		return "a list of strings"
	case map[string]json.RawMessage:
		return "an object"
	}
	return "a string"
}

// positive returns a whole number, or as many as there are levels, that must be above 0.
func (s *settings) positive(key string, missing int) int {
	v := get(s, key, missing)
	if v < 1 || v > 1<<20 {
		s.fail(ErrConfig, "%s is %d, expected from 1 to 2²⁰", key, v)
		return max(1, missing)
	}
	return v
}

// levels returns a list of whole numbers above 0, one a level.
func (s *settings) levels(key string, missing []int) []int {
	v := get(s, key, missing)
	if len(v) == 0 || len(v) > 16 || slices.Min(v) < 1 || slices.Max(v) > 1<<20 {
		s.fail(ErrConfig, "%s is %v, expected 1 to 16 numbers from 1 to 2²⁰", key, v)
		return missing
	}
	return v
}

// only refuses all values of a key but some. Why may say what a value is known from.
func only[T comparable](s *settings, key string, missing T, why map[T]string, supported ...T) T {
	v := get(s, key, missing)
	if !slices.Contains(supported, v) {
		s.refuse(key, why[v], supported)
		return supported[0]
	}
	return v
}

// null refuses all values of a key but null.
func (s *settings) null(key, why string) {
	if s.has(key) {
		s.refuse(key, why, []string{"null"})
	}
}

// no refuses all values of a key but null and false, and lists of them.
func (s *settings) no(keys ...string) {
	for _, key := range keys {
		var list []bool
		var one bool
		switch raw := s.values[key]; {
		case !s.has(key):
		case json.Unmarshal(raw, &one) == nil && !one:
		case json.Unmarshal(raw, &list) == nil && !slices.Contains(list, true):
		default:
			s.refuse(key, "", []bool{false})
		}
	}
}

// refuse says that the value of a key is not supported.
func (s *settings) refuse(key, why string, supported any) {
	if why != "" {
		why = " (" + why + ")"
	}
	value := "missing"
	if s.has(key) {
		value = string(s.values[key])
	}
	s.fail(ErrUnsupported, "%s is %s%s, supported is %s", key, value, why, strings.Trim(fmt.Sprintf("%v", supported), "[]"))
}
