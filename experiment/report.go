package experiment

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/doob-diffusion/doob/finetune"
)

// Report is report.json: what every method has reached, means over tasks and seeds with standard errors over the seeds.
type Report struct {
	Experiment, Backend, Version string
	Seed                         uint64
	Seeds                        int
	Seconds                      float64           // of the last process, if the run was resumed
	Order                        []string          // of the methods
	Titles                       map[string]string // of the methods
	Methods                      map[string]Result
	Verdicts                     map[string]*finetune.Verdict // of the certificates of all tasks and seeds; nil for none
	Tasks                        map[string]map[string]Result // by task, then method; without names of tasks there are none
	TaskVerdicts                 map[string]map[string]*finetune.Verdict
	Reference                    Result         // what the target itself reaches, by the places of the metrics
	Cautions                     []string       // where numbers mean less than they seem to, see [Cautious]
	Extra                        map[string]any // what the problem says

	problem Problem
	tasks   []string
	label   string // of a run that is compared
	notes   []string
}

// MarshalJSON implements json.Marshaler.
func (rep *Report) MarshalJSON() ([]byte, error) {
	out := maps.Clone(rep.Extra)
	if out == nil {
		out = map[string]any{}
	}
	maps.Copy(out, map[string]any{"experiment": rep.Experiment, "seed": rep.Seed, "seeds": rep.Seeds, "backend": rep.Backend, "version": rep.Version,
		"seconds": rep.Seconds, "order": rep.Order, "titles": rep.Titles, "methods": judged(rep.Methods, rep.Verdicts)})
	if len(rep.Cautions) > 0 {
		out["cautions"] = rep.Cautions
	}
	if len(rep.Tasks) > 0 {
		tasks := map[string]any{}
		for task, methods := range rep.Tasks {
			tasks[task] = judged(methods, rep.TaskVerdicts[task])
		}
		out["tasks"] = tasks
	}
	rep.Reference.put(out)
	return json.Marshal(out)
}

// judged adds verdicts to results of methods.
func judged(results map[string]Result, verdicts map[string]*finetune.Verdict) map[string]any {
	out := map[string]any{}
	for name, r := range results {
		object := map[string]any{}
		if r.put(object); verdicts[name] != nil {
			object["reliable"], object["kl_reliable"], object["reason"] = verdicts[name].Reliable, verdicts[name].KLReliable, verdicts[name].Reason
		}
		out[name] = object
	}
	return out
}

// verdicts are those in an object of methods; methods without a certificate, and those of earlier versions, have none.
func verdicts(methods map[string]json.RawMessage) (map[string]*finetune.Verdict, error) {
	out := map[string]*finetune.Verdict{}
	for name, text := range methods {
		v := finetune.Verdict{}
		if err := json.Unmarshal(text, &v); err != nil {
			return nil, err
		}
		if v.Reason != "" {
			out[name] = &v
		}
	}
	return out, nil
}

// UnmarshalJSON implements json.Unmarshaler. It reads the reports of earlier versions too.
func (rep *Report) UnmarshalJSON(text []byte) error {
	type plain Report // without methods
	var raw struct {
		Methods map[string]json.RawMessage
		Tasks   map[string]map[string]json.RawMessage
	}
	if err := errors.Join(json.Unmarshal(text, (*plain)(rep)), json.Unmarshal(text, &rep.Extra), json.Unmarshal(text, &rep.Reference), json.Unmarshal(text, &raw)); err != nil {
		return err
	}
	var err error
	if rep.Verdicts, err = verdicts(raw.Methods); err != nil {
		return err
	}
	rep.TaskVerdicts = map[string]map[string]*finetune.Verdict{}
	for task, methods := range raw.Tasks {
		if rep.TaskVerdicts[task], err = verdicts(methods); err != nil {
			return err
		}
	}
	maps.DeleteFunc(rep.Reference, func(at string, _ Estimate) bool {
		return strings.HasPrefix(at, "methods.") || strings.HasPrefix(at, "tasks.")
	})
	for _, methods := range append(slices.Collect(maps.Values(rep.Tasks)), rep.Methods) {
		if r, ok := methods["smc"]; ok { // the name that it had
			methods["smc_twisted"] = r
			delete(methods, "smc")
		}
	}
	if rep.Order == nil {
		rep.Order = slices.Sorted(maps.Keys(rep.Methods))
	}
	e, ok := entries[rep.Experiment]
	if !ok {
		return fmt.Errorf("experiment %q is unknown to this version", rep.Experiment)
	}
	rep.problem = e.New()
	rep.problem.common().entry, rep.problem.common().Methods = e, rep.Order
	if rep.tasks = slices.Sorted(maps.Keys(rep.Tasks)); len(rep.tasks) == 0 {
		rep.tasks = []string{""}
	}
	slices.SortStableFunc(rep.tasks, func(a, b string) int { // single digits before groups of them, as it was
		return strings.Count(b, "_") - strings.Count(a, "_")
	})
	return nil
}

// at returns a text or number of a report by its path, for people; "" if there is none.
func (rep *Report) at(path string) string {
	var v any = rep.Extra
	for part := range strings.SplitSeq(path, ".") {
		object, ok := v.(map[string]any)
		if !ok {
			return ""
		}
		v = object[part]
	}
	switch v := v.(type) {
	case nil:
		return ""
	case float64:
		return signed(fmt.Sprintf("%.6g", v))
	case map[string]any:
		return strings.Join(slices.Sorted(maps.Keys(v)), " ")
	}
	return fmt.Sprint(v)
}

// readReport returns the report of a finished run.
func readReport(folder string) (*Report, error) {
	source, err := os.ReadFile(filepath.Join(folder, "report.json"))
	if errors.Is(err, fs.ErrNotExist) {
		err = unfinished(folder)
	}
	rep := &Report{}
	if err == nil {
		if err = json.Unmarshal(source, rep); err != nil {
			err = fmt.Errorf("report.json: %w", err)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w %s: %w", ErrFolder, folder, err)
	}
	return rep, nil
}

// unfinished says why a folder has no report.
func unfinished(folder string) error {
	if _, err := os.Stat(folder); err != nil {
		return err
	}
	if !exists(filepath.Join(folder, "config.yaml")) {
		return errors.New("want a run folder, this one has neither report.json nor config.yaml")
	}
	return fmt.Errorf("the run is not finished, it has no report.json yet: doob run --resume %s", folder)
}
