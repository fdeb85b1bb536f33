package experiment

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/doob-diffusion/doob/internal/config"
	"github.com/doob-diffusion/doob/internal/runfolder"
	"github.com/doob-diffusion/doob/internal/textfile"
)

// Resume goes on with a run in its folder, after whatever stopped it, to the same bytes as if it never had been. Settings, or changes of
// config.yaml, extend it: by more iterations, seeds, tasks and methods, without doing again what is there, also if it was complete. What
// does not change results may be changed too; all else is refused with the key, both values and the way out.
func Resume(ctx context.Context, folder string, sets []string, observe func(Event)) (*Report, error) {
	f, lines, err := runfolder.Reopen(folder)
	if err != nil {
		return nil, err
	}
	r, err := reopen(f, lines, sets, observe)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return r.finish(ctx)
}

// reopen takes up a run with the changes that are asked for.
func reopen(f *runfolder.Folder, lines []runfolder.Line, sets []string, observe func(Event)) (*run, error) {
	events, err := parse(lines)
	if err != nil {
		return nil, fmt.Errorf("%w %s: %w", ErrFolder, f.Path, err)
	}
	p, config, err := readConfig(f.Path, sets)
	if err != nil {
		return nil, err
	}
	recorded := recorded(events, config)
	changed, err := admit(p, recorded, events)
	if err != nil {
		return nil, fmt.Errorf("%w %s: %w", ErrFolder, f.Path, err)
	}
	if !changed && exists(f.File("report.json")) {
		return nil, fmt.Errorf("%w %s: the run is complete; --set importance.iterations=N, --seeds N or --set methods=[…] extends it", ErrFolder, f.Path)
	}
	source, err := p.Load()
	if err != nil {
		return nil, err
	}
	if err := refuse(p, source, f.Path); err != nil {
		return nil, err
	}
	text, err := text(p)
	if err != nil {
		return nil, err
	}
	r := newRun(p, source, f, string(text), observe)
	for _, ev := range events {
		r.book.add(ev)
		r.board.add(ev)
		if ev.Result != nil {
			r.done[ev.stage()] = ev.Settings
		}
	}
	if err := r.compatible(events); err != nil {
		return nil, fmt.Errorf("%w %s: %w", ErrFolder, f.Path, err)
	}
	if r.config != recorded {
		if err := errors.Join(f.WriteConfig(text), removed(f.File("report.json")), removed(f.File("report.csv"))); err != nil {
			return nil, err
		}
		r.observe(Event{Config: r.config, Data: source.SHA256})
	}
	return r, nil
}

// recorded returns the configuration that what is there was made under; another one where none was recorded.
func recorded(events []Event, otherwise string) string {
	for _, ev := range slices.Backward(events) {
		if ev.Config != "" {
			return ev.Config
		}
	}
	return otherwise
}

func removed(file string) error {
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// compatible refuses to go on on other data.
func (r *run) compatible(events []Event) error {
	const wayOut = "(SHA-256 of the data: %s); give the data of the run with --from, or begin another run with --out"
	for _, ev := range events {
		if ev.Data != "" && ev.Data != r.data.SHA256 {
			return fmt.Errorf("the run was made on other data than those here "+wayOut, r.data.SHA256)
		}
	}
	seed := r.problem.common().Seed
	for _, n := range r.problem.Networks() {
		if made := r.done[stage{seed, "", n.stage()}]; made != "" && made != r.address(n, seed) {
			return fmt.Errorf("network %s was trained on other data or with other settings than those here "+wayOut, n.Name, r.data.SHA256)
		}
	}
	return nil
}

// free are the keys that results do not depend on: they may change.
var free = map[string]bool{"seeds": true, "methods": true, "tasks": true, "variants": true, "previews": true, "states": true, "from": true, "backend": true,
	"experiment": true, "no_tensorboard": true}

// patience are the ends of keys that say how long to wait for what is outside of doob, and how often to ask it. Results do not depend on them.
var patience = map[string]bool{"timeout": true, "retries": true}

func isFree(key string) bool {
	head, _, _ := strings.Cut(key, ".")
	return free[head] || patience[key[strings.LastIndex(key, ".")+1:]]
}

// admit compares the configuration of a folder with what its numbers were made under, and refuses what would mix results. More iterations
// become a warm restart of the learning rate after those that are done.
func admit(p Problem, recorded string, events []Event) (changed bool, err error) {
	old, err := config.Flatten([]byte(recorded), growing)
	if err != nil {
		return false, fmt.Errorf("events.jsonl: the recorded configuration: %w", err)
	}
	now, err := flatten(p)
	if err != nil {
		return false, err
	}
	c := p.common()
	begun := func(name string) bool {
		return slices.ContainsFunc(events, func(ev Event) bool {
			m := c.Method(ev.Stage)
			return ev.Stage == name || m != nil && m.About().Of == name
		})
	}
	var faults []string
	refused := func(key, was, is, why string) {
		faults = append(faults, fmt.Sprintf("%s is %s, but what is there was made with %s%s", key, is, was, why))
	}
	for _, d := range config.Differences(old, now, growing) {
		head, rest, _ := strings.Cut(d.Key, ".")
		changed = true
		switch {
		case head == "seeds":
			if number(d.Is) < number(d.Was) {
				refused(d.Key, d.Was, d.Is, ": a run can only grow")
			}
		case head == "methods" || head == "tasks" || head == "variants":
			if d.Was != "" {
				faults = append(faults, fmt.Sprintf("%s is without %s, but what is there was made with it: a run can only grow", head, d.Was))
			}
		case head == "backend":
			if numerics(d.Was) != numerics(d.Is) {
				refused(d.Key, d.Was, d.Is, ", whose results may differ in the last digits")
			}
		case isFree(d.Key):
		case !begun(head) && c.Method(head) != nil:
		case rest == "iterations" && number(d.Is) > number(d.Was):
			extend(c, head, int(number(d.Was)))
		case rest == "iterations" && number(d.Is) < number(d.Was):
			refused(d.Key, d.Was, d.Is, ": a run can only grow")
		case rest == "restarts" && c.Method(head) != nil && d.Is == restarted(d.Was, old, now, head): // as if it had been left to extend
		case c.Method(head) == nil && !slices.ContainsFunc(events, func(ev Event) bool { return ev.Stage != "" }):
		default:
			refused(d.Key, d.Was, d.Is, "")
		}
	}
	if len(faults) > 0 {
		return false, fmt.Errorf("this would mix results:\n  %s\nundo it in config.yaml and in --set, or begin another run with --out", strings.Join(faults, "\n  "))
	}
	return changed, validate(p)
}

// restarted returns the restarts of a method that is extended; what it had if it is not.
func restarted(was string, old, now []config.Value, name string) string {
	done, more := config.Values(old, name+".iterations"), config.Values(now, name+".iterations")
	if number(strings.Join(more, "")) > number(strings.Join(done, "")) {
		return "[" + strings.TrimSpace(strings.Trim(was, "[]")+" "+done[0]) + "]"
	}
	return was
}

// extend has a method go on with a warm restart after the iterations that it had.
func extend(c *Common, name string, done int) {
	if l, ok := c.Method(name).(interface{ Extend(done int) }); ok {
		l.Extend(done)
	}
}

// readConfig returns the problem of a run folder with settings over it, and the text of its config.yaml. They are
// not checked.
func readConfig(folder string, sets []string) (Problem, string, error) {
	file := filepath.Join(folder, "config.yaml")
	own, err := textfile.Read(file)
	if err != nil {
		return nil, "", fmt.Errorf("%w %s: %w", ErrFolder, folder, err)
	}
	p, err := configured(own, file, sets)
	return p, string(own), err
}

// configured makes the problem of a config.yaml with other settings over it, and does not check it.
func configured(text []byte, file string, sets []string) (Problem, error) {
	var kind struct {
		Experiment string `yaml:"experiment"`
	}
	if err := yaml.Unmarshal(text, &kind); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrFolder, file, err)
	}
	e, err := find(kind.Experiment)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: experiment %q is unknown to this version", ErrFolder, file, kind.Experiment)
	}
	set, err := settingsOf(sets)
	if err != nil {
		return nil, err
	}
	return assemble(e, append([]source{{text, file}}, set...))
}

// flatten lists all settings of a problem.
func flatten(p Problem) ([]config.Value, error) {
	out, err := text(p)
	if err != nil {
		return nil, err
	}
	return config.Flatten(out, growing)
}

// growing are the keys of lists that can grow.
var growing = map[string]bool{"methods": true, "tasks": true, "variants": true}

func number(text string) float64 {
	if v, err := strconv.ParseFloat(text, 64); err == nil {
		return v
	}
	return math.NaN()
}
