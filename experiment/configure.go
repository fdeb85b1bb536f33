package experiment

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"

	"github.com/doob-diffusion/doob/internal/config"
	"github.com/doob-diffusion/doob/internal/textfile"
	"github.com/doob-diffusion/doob/method"
)

// Load of a configuration.

// New reads the configuration of a problem: its defaults, a preset, a file (if named), then key=value settings, each over what came
// before. An empty preset is the default one. Errors wrap [ErrConfig].
func New(name, preset, file string, sets []string) (Problem, error) {
	e, err := find(name)
	if err != nil {
		return nil, err
	}
	if preset == "" {
		preset = e.Default
	}
	var sources []source
	for _, part := range []string{"defaults", preset} {
		text, err := readPreset(e, part)
		if err != nil {
			return nil, err
		}
		sources = append(sources, source{text, "preset " + part})
	}
	if file != "" {
		text, err := readFile(file)
		if err != nil {
			return nil, err
		}
		sources = append(sources, source{text, file})
	}
	set, err := settingsOf(sets)
	if err != nil {
		return nil, err
	}
	return build(e, append(sources, set...))
}

// build makes a problem of sources, each over those before, and checks it.
func build(e Entry, sources []source) (Problem, error) {
	p, err := assemble(e, sources)
	if err != nil {
		return nil, err
	}
	return p, validate(p)
}

// assemble makes a problem that is not checked.
func assemble(e Entry, sources []source) (Problem, error) {
	p := e.New()
	c := p.common()
	c.entry, c.Experiment = e, e.Name
	if c.Seed, c.Seeds, c.States = 1, 1, true; c.settings == nil {
		c.settings = map[string]method.Method{}
	}
	names, _ := method.Names()
	for _, name := range names {
		c.settings[name] = method.New(name)
	}
	if e.Methods != nil {
		for _, m := range e.Methods() {
			c.settings[m.About().Name] = m
		}
	}
	for _, s := range sources {
		if err := decode(p, s); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// decode reads a source over a problem. A key that is the name of a method holds its settings; loop holds what all methods have in common
// that fit the loss (15), and is read before.
func decode(p Problem, s source) error {
	c := p.common()
	skip := []any{}
	loops := func(key string) []any {
		targets := skip
		for _, m := range c.settings {
			if shared, ok := m.(interface{ Shared() *method.Supervised }); ok && key == "loop" {
				targets = append(targets, shared.Shared())
			}
		}
		return targets
	}
	rest := func(key string) []any {
		if key == "loop" {
			return skip
		}
		if m := c.Method(key); m != nil && settled(m) != "{}" {
			return []any{m}
		}
		return nil
	}
	if err := config.Decode(p, s.text, s.where, loops); err != nil {
		return err
	}
	return config.Decode(p, s.text, s.where, rest)
}

// text writes the resolved configuration: all that is not a method's default.
func text(p Problem) ([]byte, error) {
	out, err := yaml.Marshal(p)
	if err != nil {
		return nil, err
	}
	c := p.common()
	var names []string
	for name := range c.settings {
		if !c.wants(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range append(slices.Clone(c.Methods), names...) {
		m := c.Method(name)
		if m == nil {
			continue
		}
		value := settled(m)
		if d := c.fresh(name); value == "{}" || !c.wants(name) && d != nil && settled(d) == value {
			continue
		}
		out = append(out, fmt.Sprintf("%s: %s\n", quoted(name), value)...)
	}
	return out, nil
}

// settled writes the settings of a method, on one line.
func settled(m method.Method) string {
	line, err := yaml.MarshalWithOptions(m, yaml.Flow(true))
	if err != nil {
		panic(err) // plain data
	}
	return strings.TrimSpace(string(line))
}

// fresh returns a method with its default settings.
func (c *Common) fresh(name string) method.Method {
	if c.entry.Methods != nil {
		for _, m := range c.entry.Methods() {
			if m.About().Name == name {
				return m
			}
		}
	}
	return method.New(name)
}

func quoted(key string) string {
	out, err := yaml.Marshal(key)
	if err != nil {
		return key
	}
	return strings.TrimSpace(string(out))
}

// source is a part of a configuration, as YAML.
type source struct {
	text  []byte
	where string
}

func readPreset(e Entry, name string) ([]byte, error) {
	text, err := fs.ReadFile(e.Presets, "presets/"+name+".yaml")
	if err != nil {
		return nil, fmt.Errorf("%w: %s has no preset %s", ErrConfig, e.Name, config.Unknown(name, e.PresetNames()))
	}
	return text, nil
}

func readFile(path string) ([]byte, error) {
	text, err := textfile.Read(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if !utf8.Valid(text) {
		return nil, fmt.Errorf("%w: %s is no text in UTF-8, it begins with %q: want YAML; doob init writes examples", ErrConfig, path, text[:min(8, len(text))])
	}
	return text, nil
}

// settingsOf makes sources of key=value settings.
func settingsOf(sets []string) ([]source, error) {
	var out []source
	for _, set := range sets {
		text, err := config.Setting(set)
		if err != nil {
			return nil, err
		}
		out = append(out, source{text, "--set " + set})
	}
	return out, nil
}
