package experiment

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"slices"

	"github.com/doob-diffusion/doob/data"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/internal/config"
	"github.com/doob-diffusion/doob/internal/runfolder"
	"github.com/doob-diffusion/doob/method"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
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
	Steps   int     // of methods that have no number of their own; 0 means those of the run
	Out     string  // .png for a picture, .csv for the numbers
	From    string  // folder with the files of the data set; "" means that of the run
	Backend string
	// Observe is told now and then, by another goroutine, how many network calls are done, of about so many; may be nil.
	Observe func(done, total float64)
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
	if d.Steps < 0 {
		return fmt.Errorf("sample: %d steps: want at least 1, or 0 for those of the run", d.Steps)
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

// Sample draws from what a run has learned, as its method does, and writes the samples to d.Out, a picture with notes of how it was made. Where the method
// selects nothing, sample i depends on the seed and i only. It returns the method that was used.
func Sample(ctx context.Context, d Draw) (used string, err error) {
	if err := d.check(); err != nil {
		return "", err
	}
	o, err := OpenRun(ctx, d.Folder, d.From, d.Backend)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, o.Close()) }()
	return o.Sample(ctx, d)
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
		if _, err := n.Init(e.Scope(path), l.Key); err != nil {
			return nil, err
		}
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
