package experiment

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/nn"
)

// ErrConfig says that a configuration has an unknown key, a value of the wrong type, or a value out of range.
var ErrConfig = errors.New("configuration")

//go:embed presets
var presets embed.FS

// Presets returns the names of an experiment's presets; the first is the default.
func Presets(experiment string) []string {
	files, err := fs.Glob(presets, "presets/"+experiment+"/*.yaml")
	if err != nil {
		panic(err) // the pattern is constant
	}
	var names []string
	for _, f := range files {
		names = append(names, strings.TrimSuffix(f[strings.LastIndex(f, "/")+1:], ".yaml"))
	}
	slices.SortFunc(names, func(a, b string) int { return rank(a) - rank(b) })
	return names
}

func rank(preset string) int {
	return slices.Index([]string{"paper", "small", "mlp", "quick"}, preset) * -1
}

// decode reads a preset, then a file (if named), then key=value settings into dst, each overriding what came before.
// Unknown keys and ill-typed values are errors that show the place.
func decode(dst any, experiment, preset, file string, sets []string) error {
	source, err := presets.ReadFile("presets/" + experiment + "/" + preset + ".yaml")
	if err != nil {
		return fmt.Errorf("%w: %s has no preset %q: want one of %s", ErrConfig, experiment, preset, strings.Join(Presets(experiment), ", "))
	}
	if err := strict(dst, source, "preset "+preset); err != nil {
		return err
	}
	if file != "" {
		source, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrConfig, err)
		}
		if err := strict(dst, source, file); err != nil {
			return err
		}
	}
	for _, set := range sets {
		key, value, ok := strings.Cut(set, "=")
		if !ok || key == "" {
			return fmt.Errorf("%w: --set %q: want key=value, such as importance.iterations=20", ErrConfig, set)
		}
		if err := strict(dst, nested(key, value), "--set "+set); err != nil {
			return err
		}
	}
	return nil
}

// nested writes "a.b=v" as YAML.
func nested(key, value string) []byte {
	var b strings.Builder
	parts := strings.Split(key, ".")
	for depth, part := range parts {
		fmt.Fprintf(&b, "%s%s:", strings.Repeat("  ", depth), part)
		if depth < len(parts)-1 {
			b.WriteByte('\n')
		}
	}
	fmt.Fprintf(&b, " %s\n", value)
	return []byte(b.String())
}

func strict(dst any, source []byte, where string) error {
	var content any
	if err := yaml.Unmarshal(source, &content); err == nil && content == nil {
		return nil // comments only are null to the decoder, which would reset all of dst
	}
	if err := yaml.UnmarshalWithOptions(source, dst, yaml.Strict()); err != nil {
		return fmt.Errorf("%w: %s:\n%s", ErrConfig, where, strings.TrimRight(yaml.FormatError(err, false, true), "\n"))
	}
	if err := wholeNumbers(dst, source); err != nil {
		return fmt.Errorf("%w: %s:\n%w", ErrConfig, where, err)
	}
	return nil
}

// wholeNumbers refuses 1.5 where dst has an integer: the decoder has cut it to 1. Integers are told from other numbers
// by how they are written, as 1 and not 1.0.
func wholeNumbers(dst any, source []byte) error {
	file, err := parser.ParseBytes(source, 0)
	if err != nil {
		return err
	}
	text, err := yaml.Marshal(dst)
	if err != nil {
		return err
	}
	decoded, err := parser.ParseBytes(text, 0)
	if err != nil {
		return err
	}
	for _, doc := range file.Docs {
		for _, n := range ast.Filter(ast.FloatType, doc.Body) {
			path, err := yaml.PathString(n.GetPath())
			if err != nil {
				return err
			}
			got, err := path.FilterFile(decoded)
			if err != nil || got.Type() != ast.IntegerType {
				continue // what was decoded as a number with decimals, or left out because it is zero
			}
			place, err := path.AnnotateSource(source, false)
			if err != nil {
				return err
			}
			t := n.GetToken()
			return fmt.Errorf("[%d:%d] cannot use %s as an integer\n%s", t.Position.Line, t.Position.Column, t.Value, strings.TrimRight(string(place), "\n"))
		}
	}
	return nil
}

// check collects what is out of range, so that one run of the program shows all of it.
type check struct{ faults []string }

func (c *check) that(ok bool, format string, args ...any) {
	if !ok {
		c.faults = append(c.faults, fmt.Sprintf(format, args...))
	}
}

func (c *check) positive(key string, v int) {
	c.that(v > 0, "%s is %d, want a positive number", key, v)
}

func (c *check) optimizer(key string, o nn.Optimizer) {
	c.that(o.LearningRate >= 0 && !math.IsInf(o.LearningRate, 1), "%s.learning_rate is %g, want a positive number", key, o.LearningRate)
	c.that(o.EMA >= 0 && o.EMA < 1, "%s.ema is %g, want 0 ≤ ema < 1", key, o.EMA)
	c.that(o.WeightDecay >= 0, "%s.weight_decay is %g, want at least 0", key, o.WeightDecay)
}

func (c *check) times(key string, l diffusion.TimeLaw) {
	c.that(l.Power == 0 || l.Power >= 1, "%s.power is %g, want at least 1", key, l.Power)
	c.that(l.SNRSD >= 0 && !math.IsInf(l.SNRSD, 1), "%s.snr_sd is %g, want a number of at least 0", key, l.SNRSD)
	c.that(math.Abs(l.SNRMean) <= 8, "%s.snr_mean is %g, want a number from −8 to 8: a log signal-to-noise ratio", key, l.SNRMean)
}

func (c *check) err() error {
	if len(c.faults) == 0 {
		return nil
	}
	slices.Sort(c.faults)
	return fmt.Errorf("%w: %s", ErrConfig, strings.Join(c.faults, "\n  and "))
}

// Process says how the diffusion is simulated.
type Process struct {
	Schedule diffusion.VP `yaml:",inline"`
	Kernel   string       `yaml:"kernel"` // euler-maruyama, ddpm, ddim
	Eta      float64      `yaml:"eta"`    // of ddim
	Steps    int          `yaml:"steps"`
	Power    float64      `yaml:"power"` // of the time grid, see [diffusion.Times]
}

func (p Process) check(c *check) {
	c.positive("process.steps", p.Steps)
	c.that(p.Power >= 1, "process.power is %g, want at least 1", p.Power)
	c.that(p.Schedule.Beta0 > 0 && p.Schedule.Beta1 > p.Schedule.Beta0, "process.beta0 and beta1 are %g and %g, want 0 < beta0 < beta1",
		p.Schedule.Beta0, p.Schedule.Beta1)
	if _, err := diffusion.NewKernel(p.Kernel, p.Eta); err != nil {
		c.that(false, "process.kernel: %v", err)
	}
	c.that(p.Kernel != "ddim" || p.Eta > 0, "process.eta is %g, want a positive number: a noise-free sampler has no path weights", p.Eta)
}

// steps returns the process's steps, n of them if n > 0.
func (p Process) steps(n int) []diffusion.Step {
	if n <= 0 {
		n = p.Steps
	}
	kernel, err := diffusion.NewKernel(p.Kernel, p.Eta)
	if err != nil {
		panic(err) // checked with the configuration
	}
	return kernel.Steps(p.Schedule, diffusion.Times(n, p.Power))
}

// Network is the size of a perceptron.
type Network struct {
	Width int `yaml:"width"`
	Depth int `yaml:"depth"`
	// Octaves adds sines and cosines of the inputs, see [nn.MLP].
	Octaves int `yaml:"octaves"`
}

func (n Network) check(key string, c *check) {
	c.positive(key+".width", n.Width)
	c.positive(key+".depth", n.Depth)
	c.that(n.Octaves >= 0 && n.Octaves <= 10, "%s.octaves is %d, want 0 to 10", key, n.Octaves)
}

// Loop are the settings of one fine-tuning method: Algorithm 1 with a selector and an objective.
type Loop struct {
	Iterations int               `yaml:"iterations"`
	Paths      int               `yaml:"paths"`   // simulated per iteration
	Buffer     int               `yaml:"buffer"`  // capacity, samples
	Prefill    int               `yaml:"prefill"` // base samples that the buffer starts with
	Training   finetune.Training `yaml:",inline"`
	KL         float64           `yaml:"kl"`         // weight of the regulariser (17)
	Acceptance finetune.Rate     `yaml:"acceptance"` // in stages of equal length
	BestOf     int               `yaml:"best_of"`    // K of RAFT
	Steps      int               `yaml:"steps"`      // time steps used by VarGrad, or unrolled by backpropagation; 0 means all
}

func (l Loop) check(key string, c *check) {
	c.positive(key+".iterations", l.Iterations)
	c.positive(key+".paths", l.Paths)
	c.positive(key+".batch", l.Training.Batch)
	c.positive(key+".updates", l.Training.Updates)
	c.positive(key+".buffer", l.Buffer)
	c.that(l.Prefill >= 0, "%s.prefill is %d, want at least 0", key, l.Prefill)
	c.that(l.KL >= 0, "%s.kl is %g, want at least 0", key, l.KL)
	c.that(l.Steps >= 0, "%s.steps is %d, want at least 0", key, l.Steps)
	c.optimizer(key, l.Training.Optimizer)
	c.times(key, l.Training.Times)
	for _, r := range l.Acceptance {
		c.that(r > 0 && r <= 1, "%s.acceptance has %g, want numbers in (0, 1]", key, r)
	}
}
