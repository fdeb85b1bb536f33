package config

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// run and network are such as configurations have.
type run struct {
	Seed    uint64             `yaml:"seed"`
	Samples int                `yaml:"samples"`
	Name    string             `yaml:"name"`
	Scale   float64            `yaml:"scale"`
	Prefill int                `yaml:"prefill,omitempty"`
	Rates   []float64          `yaml:"rates"`
	Net     network            `yaml:"net"`
	Extra   *network           `yaml:"extra,omitempty"`
	Limits  map[string]int     `yaml:"limits"`
	Weights map[string]float64 `yaml:"weights"`
}

type network struct {
	Width int   `yaml:"width"`
	Sizes []int `yaml:"sizes"`
	Heads int   `yaml:"heads,omitempty"`
	Decay float64
}

// start is a configuration without zeros, so that one which is reset shows.
func start() run {
	return run{Seed: 1, Samples: 2, Name: "three", Scale: 0.5, Prefill: 4, Rates: []float64{0.7}, Net: network{Width: 8, Sizes: []int{1, 2}, Heads: 3, Decay: 0.1},
		Extra: &network{Width: 9}, Limits: map[string]int{"a": 1}, Weights: map[string]float64{"b": 0.5}}
}

// routed are the destinations of single keys: both of "both", h of "h" and "7", none of "skipped".
type routed struct{ h, second network }

func (r *routed) elsewhere(key string) []any {
	return map[string][]any{"h": {&r.h}, "7": {&r.h}, "both": {&r.h, &r.second}, "skipped": {}}[key]
}

func decode(text string) (run, routed, error) {
	got, r := start(), routed{network{Width: 5, Heads: 6}, network{Width: 7}}
	err := Decode(&got, []byte(text), "mine.yaml", r.elsewhere)
	return got, r, err
}

// What a document says is read over what was there, and the rest stays.
func TestDecode(t *testing.T) {
	same := func(*run, *routed) {}
	for text, change := range map[string]func(*run, *routed){
		// A document that says nothing changes nothing, and so does a key without a value.
		"": same, "\n \n": same, "# only\n\n# comments\n": same, "---\n": same, "--- # none\n": same, "null": same, "{}": same,
		"samples: null\n": same, "samples:\nnet: ~\n": same, "---\n# one\n...\n": same, "net: {width: null, sizes:}\n": same, "net: {}\n": same, "rates: null\n": same,
		"extra: {width: null}\n": same, "h: null\n": same, "both:\n": same, "h: {width: null}\n": same, "h: {}\n": same,

		"samples: 70\n": func(c *run, _ *routed) { c.Samples = 70 },
		"samples: 70 # enough\n# so\n\nname: 'x: y'\nscale: 3\n": func(c *run, _ *routed) { c.Samples, c.Name, c.Scale = 70, "x: y", 3 },
		"{samples: 70, scale: 1e-300}":                           func(c *run, _ *routed) { c.Samples, c.Scale = 70, 1e-300 },
		"net:\n  width: 16\n":                                    func(c *run, _ *routed) { c.Net.Width = 16 },
		"net: {sizes: [4]}\n":                                    func(c *run, _ *routed) { c.Net.Sizes = []int{4} },
		"net: {sizes: []}\nrates: []\n":                          func(c *run, _ *routed) { c.Net.Sizes, c.Rates = []int{}, []float64{} },
		"extra: {heads: 2}\n":                                    func(c *run, _ *routed) { c.Extra = &network{Width: 9, Heads: 2} },
		"net: {<<: {width: 16, decay: 0.25}}\n":                  func(c *run, _ *routed) { c.Net.Width, c.Net.Decay = 16, 0.25 },
		"\"samples\": 70\n'net': {\"width\": 16}\n":              func(c *run, _ *routed) { c.Samples, c.Net.Width = 70, 16 },
		"seed: 18446744073709551615\n":                           func(c *run, _ *routed) { c.Seed = math.MaxUint64 },
		"samples: 1e3\nprefill: 0.0\n":                           func(c *run, _ *routed) { c.Samples, c.Prefill = 1000, 0 }, // whole
		"rates: [1, 0.5, 5e-1, 2.0]\n":                           func(c *run, _ *routed) { c.Rates = []float64{1, 0.5, 0.5, 2} },
		"name: 0.5\n":                                            func(c *run, _ *routed) { c.Name = "0.5" },
		"weights: {\"it's\": 0.5, a.b: .5, 'a b': 2.5, '*': 1.5}": func(c *run, _ *routed) {
			c.Weights = map[string]float64{"it's": 0.5, "a.b": 0.5, "a b": 2.5, "*": 1.5}
		},

		"samples: 0x10\nprefill: 0o17\nscale: 0.5\nseed: 0\nname: '007'\n": func(c *run, _ *routed) { // of one meaning only
			c.Samples, c.Prefill, c.Seed, c.Name = 16, 15, 0, "007"
		},
		"name: inf\n": func(c *run, _ *routed) { c.Name = "inf" }, "name: '.nan'\n": func(c *run, _ *routed) { c.Name = ".nan" },
		"\ufeff": same, "\ufeff# a mark\nsamples: 70\n": func(c *run, _ *routed) { c.Samples = 70 }, "\ufeffsamples: 70\n": func(c *run, _ *routed) { c.Samples = 70 },

		// Documents come one after another.
		"---\nsamples: 3\nscale: 2\n---\nsamples: 4\n":            func(c *run, _ *routed) { c.Samples, c.Scale = 4, 2 },
		"# one\n---\nsamples: 3\n--- # two\nh: {width: 1}\n...\n": func(c *run, r *routed) { c.Samples, r.h.Width = 3, 1 },

		// Some keys are read over something else.
		"h: {width: 1}\n":                                    func(_ *run, r *routed) { r.h.Width = 1 },
		"h:\n  width: 1\nsamples: 70\n":                      func(c *run, r *routed) { r.h.Width, c.Samples = 1, 70 },
		"\"h\": {width: 1}\n'7': {heads: 2}\nskipped: 1.5\n": func(_ *run, r *routed) { r.h.Width, r.h.Heads = 1, 2 },
		"both: {width: 1, decay: 0.5}\n": func(_ *run, r *routed) {
			r.h.Width, r.second.Width, r.h.Decay, r.second.Decay = 1, 1, 0.5, 0.5
		},
		"skipped: {nonsense: [1.5]}\n":     same,
		"skipped: 3\nsamples: 70\n":        func(c *run, _ *routed) { c.Samples = 70 },
		"h: &same {width: 1, decay: .5}\n": func(_ *run, r *routed) { r.h.Width, r.h.Decay = 1, 0.5 },
	} {
		want, wantRouted := start(), routed{network{Width: 5, Heads: 6}, network{Width: 7}}
		change(&want, &wantRouted)
		got, gotRouted, err := decode(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		} else if d := cmp.Diff(want, got) + cmp.Diff(wantRouted, gotRouted, cmp.AllowUnexported(routed{})); d != "" {
			t.Errorf("%q (-want +got):\n%s", text, d)
		}
	}
}

// A mistake is shown with its line, and a caret below the place.
func TestDecodeShowsMistakes(t *testing.T) {
	for text, words := range map[string][]string{
		// keys
		"sampels: 3\n": {"[1:1]", `unknown field "sampels"`, ">  1 | sampels: 3\n       ^"},
		"samples: 10\nnet:\n  width: 2\n  with: 3\n": {"[4:3]", `unknown field "with"`, ">  4 |   with: 3\n         ^"},
		"extra: {with: 3}\n":                         {"[1:9]", `unknown field "with"`},
		"samples: 10\nh: {with: 3}\n":                {"[2:5]", `unknown field "with"`, "^"},
		"both:\n  width: 3\n  with: 3\n":             {"[3:3]", `unknown field "with"`, "^"},
		"---\nsamples: 3\n---\nsampels: 3\n":         {"[4:1]", `unknown field "sampels"`, "^"},
		"samples: 1\nsamples: 2\n":                   {"[2:1]", "samples", "already defined"},
		"h: {width: 1}\nh: {width: 2}\n":             {"[2:1]", "h", "already defined"},
		"net: {width: 1, width: 2}\n":                {"[1:17]", "width", "already defined"},
		"samples: 70\n1: 2\n":                        {"[2:1]", "1 as a key", ">  2 | 1: 2\n       ^"}, // would hide the samples
		"net: {width: 70, true: 2}\n":                {"[1:18]", "true as a key"},
		"h: {width: 70, 1.5: 2}\n":                   {"[1:16]", "1.5 as a key"},

		// types
		"samples: 1\nname: x\nsamples: many\n": {"[3:1]"},
		"name: x\nsamples: many\n":             {"[2:10]", "int", ">  2 | samples: many\n                ^"},
		"samples: [1]\n":                       {"[1:10]", "int"},
		"samples: true\n":                      {"[1:10]", "int"},
		"scale: high\n":                        {"[1:8]", "float64"},
		"scale: 1e400\n":                       {"[1:8]", "float64"},
		"seed: -1\n":                           {"[1:7]", "-1"},
		"net: 3\n":                             {"[1:6]", "mapping is expected"},
		"net: [3]\n":                           {"[1:6]", "mapping is expected"},
		"rates: 0.5\n":                         {"[1:8]", "sequence is expected"},
		"net: {sizes: [1, two]}\n":             {"[1:18]", "int"},
		"h: 3\n":                               {"[1:4]", "mapping is expected"},
		"h: {width: wide}\n":                   {"[1:12]", "int"},
		"samples: 0200\n":                      {"[1:10]", "cannot use 0200: a 0 before a number", "want 200,"}, // 128 to YAML 1.1
		"name: x\nscale: -0200\n":              {"[2:8]", "cannot use -0200"},
		"name: 007\n":                          {"[1:7]", "cannot use 007", "want 7, or a text in quotes"}, // a folder of that name would be another
		"rates: [1, 010]\n":                    {"[1:12]", "cannot use 010"},
		"limits: {a: 00}\n":                    {"[1:13]", "cannot use 00", "want 0,"},
		"seed: 0_1\n":                          {"[1:7]", "cannot use 0_1"},
		"h: {width: 010}\n":                    {"[1:12]", "cannot use 010"},
		"scale: .nan\n":                        {"[1:8]", "cannot use .nan, want a finite number"},
		"samples: -.inf\n":                     {"[1:10]", "cannot use -.inf"}, // the least integer to the decoder
		"rates: [1, .inf]\n":                   {"[1:12]", "cannot use .inf"},
		"scale: NaN\n":                         {"[1:8]", "cannot use NaN"}, // a text to the parser
		"net: {decay: \"inf\"}\n":              {"[1:14]", "cannot use inf"},
		"\xff\xfes\x00":                        {"UTF-16, want UTF-8"},
		"samples: 1\n\ufeff---\nsamples: 2\n":  {"[2:1]"},

		// what is no mapping, and no YAML
		"- 1\n- 2\n":             {"[1:1]", "Sequence", "want keys with values"},
		"\n\nsamples\n":          {"[3:1]", "String", "want keys with values", ">  3 | samples\n       ^"},
		"samples: 1\n---\n- 2\n": {"[3:1]", "Sequence"},
		"samples: 1\n---\n# none\n---\nscale: 3\n": {"[4:1]", "empty"}, // the scale would be lost
		"---\n---\nscale: 3\n":                     {"[2:1]", "empty"},
		"samples: 10\n  scale: 3\n":                {"scale", "^"},
		"net: {sizes: [1\n":                        {"sizes: [1", "^"},
	} {
		wantMistake(t, text, words...)
	}
}

// An integer is not silently cut out of another number, wherever it stands and however it is written.
func TestDecodeWantsWholeNumbers(t *testing.T) {
	for text, words := range map[string][]string{
		"samples: 1.5\n":                                      {"[1:10]", "1.5 as an integer", ">  1 | samples: 1.5\n                ^"},
		"samples: 1.0\n":                                      {"[1:10]", "1.0 as an integer"},
		"scale: 1.5\nsamples: -.5\n":                          {"[2:10]", "-.5 as an integer"},
		"samples: 15e-1\n":                                    {"[1:10]", "15e-1 as an integer"}, // a string to the parser
		"samples: \"1.5\"\n":                                  {"[1:10]", "1.5 as an integer"},
		"samples: 1.5e1\n":                                    {"[1:10]", "1.5e1 as an integer"},
		"seed: 18446744073709551616\n":                        {"[1:7]", "18446744073709551616 as an integer"}, // 2⁶⁴
		"samples: 9223372036854775808\n":                      {"[1:10]", "9223372036854775808"},
		"prefill: 0.5\n":                                      {"[1:10]", "0.5 as an integer"}, // 0, which is not written
		"prefill: 5e-1\n":                                     {"[1:10]", "5e-1 as an integer"},
		"name: x\nnet:\n  decay: 0.5\n  width: 2.5\n":         {"[4:10]", "2.5 as an integer", ">  4 |   width: 2.5\n                ^"},
		"net: {heads: 0.5}\n":                                 {"[1:14]", "0.5 as an integer"},
		"net: {sizes: [1, 2.5]}\n":                            {"[1:18]", "2.5 as an integer"},
		"net: {<<: {width: 2.5}}\n":                           {"[1:19]", "2.5 as an integer"},
		"extra: {width: 2.5}\n":                               {"[1:16]", "2.5 as an integer"},
		"extra: &one {width: 2.5}\n":                          {"[1:21]", "2.5 as an integer"},
		"limits: {a.b: 2.5}\n":                                {"[1:15]", "2.5 as an integer"},
		"h: {decay: 0.5, width: 2.5}\n":                       {"[1:24]", "2.5 as an integer"},
		"h:\n  heads: 0.5\n":                                  {"[2:10]", "0.5 as an integer"},
		"\"h\": {width: 2.5}\n":                               {"[1:14]", "2.5 as an integer"},
		"7: {width: 2.5}\n":                                   {"[1:12]", "2.5 as an integer"},
		"both: {sizes: [2.5]}\n":                              {"[1:16]", "2.5 as an integer"},
		"samples: 1\nnet: {width: 1}\n---\nnet: {width: 1.5}": {"[4:14]", "1.5 as an integer", ">  4 | net: {width: 1.5}\n                    ^"},
		"samples: 1\n---\nsamples: 1\nh: {width: 1.5}\n":      {"[4:12]", "1.5 as an integer"},
	} {
		wantMistake(t, text, words...)
	}
}

func wantMistake(t *testing.T, text string, words ...string) {
	t.Helper()
	_, _, err := decode(text)
	if !errors.Is(err, ErrConfig) {
		t.Errorf("%q: error %v, want one that wraps ErrConfig", text, err)
		return
	}
	for _, w := range append(words, "mine.yaml") {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q: error\n%v\nlacks %q", text, err, w)
		}
	}
}

// A setting is the document that it stands for. One without a value, or of several lines, would do nothing, or something else.
func TestSetting(t *testing.T) {
	for _, set := range []string{"samples=", "samples= ", "samples=4\nseed: 3", "=4", "samples"} {
		if _, err := Setting(set); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), "want key=value on one line") {
			t.Errorf("%q: %v", set, err)
		}
	}
	for set, change := range map[string]func(*run, *routed){
		"samples=70":                func(c *run, _ *routed) { c.Samples = 70 },
		"net.width=16":              func(c *run, _ *routed) { c.Net.Width = 16 },
		"net={width: 16}":           func(c *run, _ *routed) { c.Net.Width = 16 },
		"net.sizes=[4, 5]":          func(c *run, _ *routed) { c.Net.Sizes = []int{4, 5} },
		"h.width=1":                 func(_ *run, r *routed) { r.h.Width = 1 },
		"name=a=b":                  func(c *run, _ *routed) { c.Name = "a=b" },
		"seed=18446744073709551615": func(c *run, _ *routed) { c.Seed = math.MaxUint64 },
	} {
		text, err := Setting(set)
		if err != nil {
			t.Errorf("%s: %v", set, err)
			continue
		}
		want, wantRouted := start(), routed{network{Width: 5, Heads: 6}, network{Width: 7}}
		change(&want, &wantRouted)
		got, gotRouted, err := decode(string(text))
		if err != nil {
			t.Errorf("%s: %v", set, err)
		} else if d := cmp.Diff(want, got) + cmp.Diff(wantRouted, gotRouted, cmp.AllowUnexported(routed{})); d != "" {
			t.Errorf("%s (-want +got):\n%s", set, d)
		}
	}
	for set, words := range map[string][]string{
		"net.with=3":    {"unknown field", "with"},
		"net.width=2.5": {"2.5 as an integer", "2 |   width: 2.5"},
		"a..b=3":        {"mine.yaml"},
		".=3":           {"mine.yaml"},
		"samples=[1":    {"samples: [1"},
	} {
		text, err := Setting(set)
		if err != nil {
			t.Errorf("%s: %v", set, err)
			continue
		}
		wantMistake(t, string(text), words...)
	}
	for _, set := range []string{"samples", "", "=3", "="} {
		text, err := Setting(set)
		if !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), "key=value") || !strings.Contains(err.Error(), "--set") || text != nil {
			t.Errorf("%q: %q, error %v; want an error about key=value that wraps ErrConfig", set, text, err)
		}
	}
}
