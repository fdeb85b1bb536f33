package experiment

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/doob-diffusion/doob/data"
	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/internal/config"
	"github.com/doob-diffusion/doob/internal/machine"
	"github.com/doob-diffusion/doob/internal/runfolder"
	"github.com/doob-diffusion/doob/method"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/report"
	"github.com/doob-diffusion/doob/steer"
	"github.com/doob-diffusion/doob/vision"
)

// Draw says what to sample from a run folder.
type Draw struct {
	Folder  string
	Method  string // of the run; "" means importance, or base if the run has not learned it (to evaluate: all)
	Task    string // of the run, or the number of a condition from 0; "" means the first
	N       int
	Seed    uint64
	Amplify float64 // multiplies h, see [steer.Amplified]; 0 means 1
	Accept  float64 // share of the paths that is kept, see [finetune.Weighted.Accepted]; 0 means 1
	Out     string  // .png for a picture, .csv for the numbers
	From    string  // folder with the files of the data set; "" means that of the run
	Backend string
}

// check completes a request, and refuses one that makes no sense.
func (d *Draw) check() error {
	if extension := filepath.Ext(d.Out); extension != ".png" && extension != ".csv" {
		return fmt.Errorf("sample: output %q: want a name that ends in .png or .csv", d.Out)
	}
	if err := vision.CheckFile(d.Out); err != nil {
		return fmt.Errorf("sample: %w", err)
	}
	if d.N < 1 {
		return fmt.Errorf("sample: %d samples: want at least 1", d.N)
	}
	if d.Amplify == 0 {
		d.Amplify = 1
	}
	if !(d.Amplify > 0) || math.IsInf(d.Amplify, 1) {
		return fmt.Errorf("sample: amplification by %g: want a positive number", d.Amplify)
	}
	if d.Accept == 0 {
		d.Accept = 1
	}
	if !(d.Accept > 0 && d.Accept <= 1) {
		return fmt.Errorf("sample: a share of %g to accept: want a number in (0, 1]", d.Accept)
	}
	return nil
}

// Sample draws from what a run has learned, as its method does, and writes the samples to d.Out. Where the method selects nothing, sample i
// depends on the seed and i only. It returns the method that was used.
func Sample(ctx context.Context, d Draw) (used string, err error) {
	if err := d.check(); err != nil {
		return "", err
	}
	ctx, end := context.WithCancel(ctx) // and what the problem has opened with it
	defer end()
	l, err := openLab(ctx, d.Folder, d.From, d.Backend, true)
	if err != nil {
		return "", err
	}
	p := l.problem
	defer func() { err = release(p, err) }()
	task, condition := d.Task, -1
	if tasks := p.Tasks(); !slices.Contains(tasks, task) {
		if task != "" && tasks[0] != "" {
			return "", fmt.Errorf("sample: %s has no task %s", d.Folder, config.Unknown(d.Task, tasks))
		}
		if task != "" {
			if condition, err = strconv.Atoi(task); err != nil || condition < 0 {
				condition = math.MaxInt // there is none of that name
			}
		}
		task = tasks[0]
	}
	if d.Method, err = l.choose(d, task); err != nil {
		return "", err
	}
	_, t, m, err := l.target(ctx, task, d.Method)
	if err != nil {
		return "", err
	}
	if t.Given == nil && condition >= 0 {
		return "", fmt.Errorf("sample: %s has no task %q: it has a single one", d.Folder, d.Task)
	}
	if t.Given != nil {
		if condition = max(0, condition); condition >= t.Conditions {
			return "", fmt.Errorf("sample: %s has no condition %q: want a number from 0 to %d", d.Folder, d.Task, t.Conditions-1)
		}
		given := t.Given
		t.Conditions, t.Given = 1, func(int, int) *diffusion.Condition { return given(condition, math.MaxInt) }
	}
	t.Keys.Root, t.Keys.Particles, t.Pool = noise.New(d.Seed), noise.New(d.Seed).Sub("particles"), &method.Pool{}
	t.Samples = d.N
	work := t.Work()
	work.Samples /= d.Accept
	what := fmt.Sprintf("sampling %d", d.N)
	if d.Accept < 1 {
		what += fmt.Sprintf(" of %.3g paths", work.Samples)
	}
	if err := fits(machine.Resident()+m.Cost(work).Memory(work), what); err != nil {
		return "", err
	}
	h, err := l.control(ctx, t, task, d.Method, m)
	if err != nil {
		return "", err
	}
	if d.Amplify != 1 {
		if h == nil {
			return "", fmt.Errorf("sample: %s has no h to amplify", d.Method)
		}
		h = steer.Amplified{Control: h, Scale: d.Amplify}
	}
	var s *method.Samples
	if d.Accept < 1 {
		s, err = t.Accepted(ctx, h, d.Accept)
	} else {
		s, err = m.Sample(ctx, t, h)
	}
	if err != nil {
		return "", err
	}
	for i, v := range s.X {
		if v-v != 0 {
			return "", fmt.Errorf("sample: number %d of sample %d of %s is infinite or NaN: its networks are damaged, or have diverged", i%engine.Size(t.Shape)+1, i/engine.Size(t.Shape)+1, d.Method)
		}
	}
	if filepath.Ext(d.Out) == ".csv" {
		return d.Method, report.CSV(d.Out, s.X, engine.Size(t.Shape))
	}
	return d.Method, p.Picture(d.Out, s.X, d.N, min(8, d.N))
}

// choose returns the method to sample, which the run must have finished with.
func (l *Lab) choose(d Draw, task string) (string, error) {
	have := []string{"base"}
	for _, name := range l.problem.common().Methods {
		if name != "base" && l.has(task, name) {
			have = append(have, name)
		}
	}
	switch {
	case d.Method == "" && slices.Contains(have, "importance"):
		return "importance", nil
	case d.Method == "":
		return "base", nil
	case !slices.Contains(have, d.Method):
		return "", fmt.Errorf("sample: %s has learned no %s", d.Folder, config.Unknown(d.Method, have))
	}
	return d.Method, nil
}

// has reports whether a method has left what it takes to sample it.
func (l *Lab) has(task, name string) bool {
	c := l.problem.common()
	m := c.Method(name)
	if m == nil || method.Learns(m) {
		return exists(l.checkpoint(name, task))
	}
	if of := m.About().Of; of != "" && !exists(l.checkpoint(of, task)) {
		return false
	}
	return l.book.results[stage{l.seed, task, name}] != nil
}

// openLab prepares the lab of the first seed of a run folder, without taking it.
func openLab(ctx context.Context, folder, from, backend string, prepare bool) (*Lab, error) {
	var sets []string
	if from != "" {
		sets = append(sets, fmt.Sprintf("from=%q", from))
	}
	p, config, err := readConfig(folder, sets)
	if err != nil {
		return nil, err
	}
	if err := validate(p); err != nil {
		return nil, err
	}
	lines, err := runfolder.Lines(folder)
	if err != nil {
		return nil, err
	}
	events, err := parse(lines)
	if err == nil {
		_, err = admit(p, recorded(events, config), events) // samples are of what is there
	}
	if err != nil {
		return nil, fmt.Errorf("%w %s: %w", ErrFolder, folder, err)
	}
	c := p.common()
	c.Backend = backend
	var missing error // some problems can be sampled without data
	if prepare {
		if _, missing = p.Load(); missing != nil && !errors.Is(missing, data.ErrMissing) {
			return nil, missing
		}
	}
	e, err := engine.Open(backend)
	if err != nil {
		return nil, err
	}
	l := &Lab{Engine: e, Key: noise.New(c.Seed), problem: p, seed: c.Seed, folder: folder, book: newBook(p), pool: &method.Pool{}}
	for _, ev := range events {
		l.book.add(ev)
	}
	for _, n := range p.Networks() {
		path := nn.Averaged("/" + n.Name)
		n.Net(e.Scope(path)).Init(l.Key, n.Last, 0)
		err := nn.Load(checkpointFile(folder, n.Name), e, path)
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w %s: the run has not trained its networks yet: doob run --resume %s", ErrFolder, folder, folder)
		}
		if err != nil {
			return nil, err
		}
	}
	if c.Process.Fitted() {
		if l.fitted, err = loadVariance(l.varianceFile()); err != nil {
			return nil, err
		}
	}
	if prepare {
		if err := p.Prepare(ctx, l); err != nil {
			return nil, errors.Join(missing, err)
		}
	}
	return l, nil
}
