package experiment

import (
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/metric"
)

// Estimate is a number with its standard error over the seeds; NaN where one does not exist.
type Estimate struct{ Value, SE float64 }

// Result is what was measured, by the names of metrics. A metric that does not apply is absent.
type Result map[string]Estimate

// Numbers makes a result of numbers without errors.
func Numbers(values map[string]float64) Result {
	out := Result{}
	for name, v := range values {
		out[name] = Estimate{v, math.NaN()}
	}
	return out
}

// Rewarded adds the mean of rewards, with its standard error, over the samples that they do not forbid, and the share of those that they do as NAME_forbidden.
func (r Result) Rewarded(name string, values []float64) {
	allowed := slices.DeleteFunc(slices.Clone(values), func(v float64) bool { return math.IsInf(v, -1) })
	if len(allowed) > 0 {
		mean, se := metric.MeanSE(allowed)
		r[name] = Estimate{mean, se}
	}
	r[name+"_forbidden"] = Estimate{1 - float64(len(allowed))/float64(len(values)), math.NaN()}
}

// get returns a number with its error, NaN if there is none.
func (r Result) get(name string) Estimate {
	if e, ok := r[name]; ok {
		return e
	}
	return Estimate{math.NaN(), math.NaN()}
}

// value returns a number, NaN if there is none.
func (r Result) value(name string) float64 { return r.get(name).Value }

// add adds the mean of values of several seeds.
func (r Result) add(name string, values []float64) {
	mean, se := metric.MeanSE(values)
	if len(values) < 2 || !finite(mean) {
		se = math.NaN()
	}
	r[name] = Estimate{mean, se}
}

// MarshalJSON implements json.Marshaler. The number called a.b is member b of object a, its standard error member b of a.se.
func (r Result) MarshalJSON() ([]byte, error) {
	out := map[string]any{}
	r.put(out)
	return json.Marshal(out)
}

// put places the numbers in an object below a path.
func (r Result) put(out map[string]any, path ...string) {
	for name, e := range r {
		parts := slices.Concat(path, strings.Split(name, "."))
		put(out, finetune.Number(e.Value), parts...)
		if finite(e.SE) {
			last := len(parts) - 1
			put(out, finetune.Number(e.SE), slices.Concat(parts[:last], []string{"se"}, parts[last:])...)
		}
	}
}

func put(out map[string]any, v any, path ...string) {
	for _, key := range path[:len(path)-1] {
		inner, ok := out[key].(map[string]any)
		if !ok {
			inner = map[string]any{}
			out[key] = inner
		}
		out = inner
	}
	out[path[len(path)-1]] = v
}

// UnmarshalJSON implements json.Unmarshaler.
func (r *Result) UnmarshalJSON(text []byte) error {
	var tree map[string]any
	if err := json.Unmarshal(text, &tree); err != nil {
		return err
	}
	*r = numbers(tree, "")
	return nil
}

// numbers lists all numbers of an object, called by their paths.
func numbers(tree map[string]any, prefix string) Result {
	out := Result{}
	for key, v := range tree {
		switch v := v.(type) {
		case float64:
			out[prefix+key] = Estimate{v, math.NaN()}
		case map[string]any:
			if key != "se" {
				maps.Copy(out, numbers(v, prefix+key+"."))
			}
		}
	}
	if errors, ok := tree["se"].(map[string]any); ok {
		for name, e := range numbers(errors, prefix) {
			if of, ok := out[name]; ok {
				out[name] = Estimate{of.Value, e.Value}
			}
		}
	}
	return out
}
