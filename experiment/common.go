package experiment

import (
	"cmp"
	"fmt"
	"math"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/internal/config"
	"github.com/doob-diffusion/doob/method"
	"github.com/doob-diffusion/doob/nn"
)

// Common is the part of a configuration that all problems have, besides the settings of the methods. Problems embed it.
type Common struct {
	Experiment string   `yaml:"experiment"`
	Seed       uint64   `yaml:"seed"`
	Seeds      int      `yaml:"seeds"` // repetitions, with seeds Seed, Seed+1, …
	Methods    []string `yaml:"methods,flow"`
	// Variants are importance fine-tuning, or another method, with other settings, each a method of its own.
	Variants []struct {
		Name string   `yaml:"name"`
		Of   string   `yaml:"of,omitempty"` // the method; none means importance
		Set  []string `yaml:"set,flow"`     // key=value, keys below the method and h, self.paths=0 or temper.factor
	} `yaml:"variants,omitempty"`
	Process   diffusion.Scheme    `yaml:"process,flow"`
	Denoising diffusion.Denoising `yaml:"denoising,flow"`      // of base model and h alike
	Pretrain  nn.Training         `yaml:"pretrain,flow"`       // of the base model
	Self      Self                `yaml:"self,flow,omitempty"` // the base model's own fit, which h is relative to
	Temper    Temper              `yaml:"temper,flow,omitempty"`
	Pool      int                 `yaml:"pool"`              // base paths that take the place of iteration 1, shared by all methods that learn from endpoints
	Samples   int                 `yaml:"samples"`           // of every method, for the metrics
	Previews  int                 `yaml:"previews"`          // iterations between two pictures of what is learned; 0 for none
	Batch     int                 `yaml:"batch"`             // rows in one network evaluation
	States    bool                `yaml:"states"`            // keep what it takes to go on with more iterations; if not, they begin anew
	Backend   string              `yaml:"backend,omitempty"` // set when the run begins

	// NoTensorBoard leaves out the event files for TensorBoard.
	NoTensorBoard bool `yaml:"no_tensorboard,omitempty"`

	entry    Entry
	settings map[string]method.Method
	// KeepSamples has the samples of the first seed stored, for the figures.
	KeepSamples bool `yaml:"-"`
}

//lint:ignore U1000 problems in other packages have it by embedding
func (c *Common) common() *Common { return c }

// Method returns a method with its settings, nil if there is none of that name.
func (c *Common) Method(name string) method.Method {
	m, ok := c.settings[name]
	if !ok {
		if m = method.New(name); m == nil {
			return nil
		}
		// Of the learned methods, those of a problem's own may have an h that serves nothing else.
		if of := method.New(m.About().Of); !c.isVariant(m.About().Of) && (of == nil || !method.Learns(of)) {
			return nil
		}
		if c.settings == nil { // of a problem without configuration
			return m
		}
		c.settings[name] = m
	}
	return m
}

func (c *Common) isVariant(name string) bool {
	for _, v := range c.Variants {
		if v.Name == name {
			return true
		}
	}
	return false
}

// title returns a method's name for people.
func (c *Common) title(name string) string {
	m := c.Method(name)
	if m == nil { // of an earlier version, which has not noted its title
		m = c.fresh(name)
	}
	if m != nil {
		return m.About().Title
	}
	return name
}

func (c *Common) wants(name string) bool { return slices.Contains(c.Methods, name) }

// Settler is a problem some of whose settings follow from others: it settles them before they are checked.
type Settler interface{ Settle() }

// validate checks a whole configuration.
func validate(p Problem) error {
	if s, ok := p.(Settler); ok {
		s.Settle()
	}
	c, check := p.common(), &config.Check{}
	check.That(c.Experiment == c.entry.Name, "experiment is %q, want %s", c.Experiment, c.entry.Name)
	check.Positive("seeds", c.Seeds)
	check.That(c.Seeds < 1 || c.Seed <= math.MaxUint64-uint64(c.Seeds-1), "seed is %d, want room for %d consecutive ones up to 2⁶⁴ − 1", c.Seed, c.Seeds)
	check.That(c.Samples > 1, "samples is %d, want at least 2", c.Samples)
	check.Rows("batch", c.Batch)
	check.That(c.Pool >= 0, "pool is %d, want at least 0", c.Pool)
	check.That(c.Previews >= 0, "previews is %d, want at least 0", c.Previews)
	check.Scheme("process", c.Process)
	check.Times("denoising", c.Denoising.Times)
	check.Optimizer("pretrain", c.Pretrain.Optimizer)
	c.Self.check(check)
	c.Temper.check(check, c.Pool)
	check.Some("methods", c.Methods)
	check.That(c.Pool == 0 || p.Offers()&method.Unconditional != 0, "pool is %d, want 0: base paths know nothing of what these are conditioned on", c.Pool)
	known := slices.Clone(c.Methods)
	for i, v := range c.Variants {
		check.That(v.Name != "" && !strings.ContainsAny(v.Name, `/\`), "variants has the name %q, want one without slashes", v.Name)
		twice := false
		for _, w := range c.Variants[:i] {
			twice = twice || w.Name == v.Name
		}
		check.That(!twice && c.settings[v.Name] == nil, "variants has the name %q twice, or it is that of a method", v.Name)
		for _, s := range v.Set {
			of := cmp.Or(v.Of, importance)
			known := strings.HasPrefix(s, of+".") || strings.HasPrefix(s, "h.") || s == withoutSelf || strings.HasPrefix(s, factored)
			check.That(known, "variant %q sets %s, want keys below %s or h, %s or temper.factor", v.Name, s, of, withoutSelf)
			own := !c.Self.On() || slices.Contains(v.Set, withoutSelf) || !strings.HasPrefix(s, "h.") || slices.ContainsFunc(shapeless, func(key string) bool { return strings.HasPrefix(s, key) })
			check.That(own, "variant %q sets %s, but the base model's own fit is of the h of the run: set %s with it", v.Name, s, withoutSelf)
		}
	}
	for _, name := range c.Methods {
		m := c.Method(name)
		if m == nil {
			check.That(c.isVariant(name), "methods has %s", config.Unknown(name, c.known(), c.combined()...))
			continue
		}
		about := m.About()
		missing := about.Needs.Missing(p.Offers())
		check.That(missing == "", "methods has %s, which needs %s: %s has none", name, missing, c.Experiment)
		check.That(about.Of == "" || slices.Contains(known, about.Of), "methods has %s, which needs %s", name, about.Of)
		m.Check(check, name)
		if l, ok := m.(interface{ Sizes() (paths, prefill int) }); ok {
			_, prefill := l.Sizes()
			check.That(c.Pool == 0 || prefill == 0, "%s.prefill is %d, want 0: there is a pool", name, prefill)
		}
	}
	p.Check(check)
	if err := check.Err(); err != nil {
		return err
	}
	for _, v := range c.Variants {
		if m := c.Method(cmp.Or(v.Of, importance)); m != nil && !c.wants(v.Name) && m.About().Needs.Missing(p.Offers()) != "" {
			continue // a preset has it for other settings, and nobody asks for it
		}
		if _, _, err := variant(p, v.Name); err != nil {
			return err
		}
	}
	return nil
}

// withoutSelf is the setting of a variant whose h is relative to the base model. Only such a variant may have another NN1 than the run: all
// keys below h but the shapeless decide about it.
const withoutSelf = "self.paths=0"

var shapeless = []string{"h.scale_width=", "h.start=", "h.gradient="}

// known lists what methods may name.
func (c *Common) known() []string {
	var names []string
	for name := range c.settings {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, v := range c.Variants {
		names = append(names, v.Name)
	}
	_, endings := method.Names()
	return append(names, "or a learned one with "+strings.Join(endings, ", "))
}

// combined lists the names that an ending makes of those of learned methods.
func (c *Common) combined() (names []string) {
	_, endings := method.Names()
	for name, m := range c.settings {
		if method.Learns(m) {
			for _, ending := range endings {
				names = append(names, name+ending)
			}
		}
	}
	slices.Sort(names)
	return names
}

// importance is the method that a variant is of where it does not say another.
const importance = "importance"

// variant returns a problem as a method sees it, and the method: for a variant, that which it is of with its settings.
func variant(p Problem, name string) (Problem, method.Method, error) {
	for _, v := range p.common().Variants {
		if v.Name != name {
			continue
		}
		changed, of := clone(p), cmp.Or(v.Of, importance)
		changed.common().Variants, changed.common().Methods = nil, []string{of}
		set, err := settingsOf(v.Set)
		if err != nil {
			return nil, nil, err
		}
		for _, s := range set {
			s.where = fmt.Sprintf("variant %q, %s", name, s.where)
			if err := decode(changed, s); err != nil {
				return nil, nil, err
			}
		}
		return changed, changed.common().Method(of), validate(changed)
	}
	return p, p.common().Method(name), nil
}

// clone returns a copy of a problem whose configuration can be changed; what it has prepared is shared.
func clone(p Problem) Problem {
	out := reflect.New(reflect.TypeOf(p).Elem())
	out.Elem().Set(reflect.ValueOf(p).Elem())
	q := out.Interface().(Problem)
	c := q.common()
	settings := map[string]method.Method{}
	for name, m := range c.settings {
		copied := reflect.New(reflect.TypeOf(m).Elem())
		copied.Elem().Set(reflect.ValueOf(m).Elem())
		settings[name] = copied.Interface().(method.Method)
	}
	c.settings = settings
	return q
}

// fileName is the name of what a method leaves for a task: of the run's first seed without the seed.
func (c *Common) fileName(name, task string, seed uint64) string {
	name = strings.ReplaceAll(name, " ", "-")
	if task != "" {
		name += "_" + task
	}
	if seed != c.Seed {
		name += fmt.Sprintf("_seed_%d", seed)
	}
	return name
}

// checkpointFile returns the file of what a run has learned.
func checkpointFile(folder, name string) string {
	return filepath.Join(folder, "checkpoint", name+".safetensors")
}
