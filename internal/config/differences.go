package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

// Value is one number, text or element of a list in a configuration.
type Value struct{ Key, Text string }

// Flatten lists all settings of a YAML mapping by their keys; of the lists that are named, every element. What is in a list of mappings has the keys
// list[0].key and so on.
func Flatten(text []byte, lists map[string]bool) ([]Value, error) {
	var tree yaml.MapSlice
	if err := yaml.UnmarshalWithOptions(text, &tree, yaml.UseOrderedMap()); err != nil {
		return nil, err
	}
	var out []Value
	var walk func(key string, v any)
	walk = func(key string, v any) {
		switch v := v.(type) {
		case yaml.MapSlice:
			for _, item := range v {
				inner := fmt.Sprint(item.Key)
				if key != "" {
					inner = key + "." + inner
				}
				walk(inner, item.Value)
			}
		case []any:
			if !lists[key] && mappings(v) {
				for i, item := range v {
					walk(fmt.Sprintf("%s[%d]", key, i), item)
				}
				return
			}
			if !lists[key] {
				out = append(out, Value{key, fmt.Sprint(v)})
				return
			}
			for _, item := range v {
				out = append(out, Value{key, fmt.Sprint(item)})
			}
		default:
			out = append(out, Value{key, fmt.Sprint(v)})
		}
	}
	walk("", tree)
	return out, nil
}

// mappings reports whether all elements of a list are.
func mappings(list []any) bool {
	for _, v := range list {
		if _, ok := v.(yaml.MapSlice); !ok {
			return false
		}
	}
	return len(list) > 0
}

// Difference is a setting that two configurations do not share; "" is the value of one that is absent.
type Difference struct{ Key, Was, Is string }

// Differences lists them. Elements of the lists that are named have one each.
func Differences(old, now []Value, lists map[string]bool) (out []Difference) {
	seen := map[string]bool{}
	for _, s := range slices.Concat(old, now) {
		if seen[s.Key] {
			continue
		}
		seen[s.Key] = true
		was, is := Values(old, s.Key), Values(now, s.Key)
		if !lists[s.Key] {
			if d := (Difference{s.Key, strings.Join(was, ""), strings.Join(is, "")}); d.Was != d.Is {
				out = append(out, d)
			}
			continue
		}
		for _, v := range was {
			if !slices.Contains(is, v) {
				out = append(out, Difference{s.Key, v, ""})
			}
		}
		for _, v := range is {
			if !slices.Contains(was, v) {
				out = append(out, Difference{s.Key, "", v})
			}
		}
	}
	return out
}

// Values are those of a key.
func Values(list []Value, key string) (v []string) {
	for _, s := range list {
		if s.Key == key {
			v = append(v, s.Text)
		}
	}
	return v
}
