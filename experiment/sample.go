package experiment

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/internal/atomicfile"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/report"
	"github.com/doob-diffusion/doob/reward"
	"github.com/doob-diffusion/doob/steer"
)

// Draw says what to sample from a run folder.
type Draw struct {
	Folder  string
	Method  string // a fine-tuned method of the run, or "base"; empty means importance, or base if there is none
	Task    string // of MNIST, such as single_3; of superres, the number of a measurement from 0; empty means the first
	N       int
	Seed    uint64
	Amplify float64 // multiplies h, see [steer.Amplified]; 0 means 1
	Accept  float64 // share of the paths that is kept, see [finetune.Weighted.Accepted]; 0 means 1
	Out     string  // .png for a picture, .csv for the numbers
	Backend string
}

// Sample draws from what a run has learned, with the sampler of the run, and writes the samples to d.Out. Sample i
// depends on the seed and i only, unless paths are rejected. It returns the method that was used.
func Sample(ctx context.Context, d Draw) (method string, err error) {
	if extension := filepath.Ext(d.Out); extension != ".png" && extension != ".csv" {
		return "", fmt.Errorf("sample: output %q: want a name that ends in .png or .csv", d.Out)
	}
	if d.N < 1 {
		return "", fmt.Errorf("sample: %d samples: want at least 1", d.N)
	}
	if d.Amplify == 0 {
		d.Amplify = 1
	}
	if !(d.Amplify > 0) || math.IsInf(d.Amplify, 1) {
		return "", fmt.Errorf("sample: amplification by %g: want a positive number", d.Amplify)
	}
	if d.Accept == 0 {
		d.Accept = 1
	}
	if !(d.Accept > 0 && d.Accept <= 1) {
		return "", fmt.Errorf("sample: a share of %g to accept: want a number in (0, 1]", d.Accept)
	}
	config, err := readConfig(d.Folder)
	if err != nil {
		return "", err
	}
	e, err := engine.Open(d.Backend)
	if err != nil {
		return "", err
	}
	switch c := config.(type) {
	case *Toy:
		if d.Method, err = d.method(func(name string) string { return name }); err != nil {
			return "", err
		}
		return d.Method, d.toy(ctx, e, c)
	case *MNIST:
		if d.Task == "" {
			d.Task = c.Tasks[0]
		}
		if !slices.Contains(c.Tasks, d.Task) {
			return "", fmt.Errorf("sample: %s has no task %q: want one of %s", d.Folder, d.Task, strings.Join(c.Tasks, ", "))
		}
		if d.Method, err = d.method(func(name string) string {
			i := slices.IndexFunc(c.Methods, func(method string) bool { return c.learned(method) && fileName(method, d.Task) == name })
			if i < 0 {
				return ""
			}
			return c.Methods[i]
		}); err != nil {
			return "", err
		}
		return d.Method, d.mnist(ctx, e, c)
	case *SuperRes:
		if d.Method, err = d.method(func(name string) string {
			if !c.learned(name) {
				return ""
			}
			return name
		}); err != nil {
			return "", err
		}
		return d.Method, d.superRes(ctx, c)
	}
	panic(fmt.Sprintf("experiment: %T has no samples", config))
}

// method checks that the run has learned what is asked for. Of tells which method a checkpoint is of, "" if of none.
func (d Draw) method(of func(checkpoint string) string) (string, error) {
	files, err := filepath.Glob(checkpointFile(d.Folder, "*"))
	if err != nil {
		return "", err
	}
	have := []string{"base"}
	for _, f := range files {
		if name := of(strings.TrimSuffix(filepath.Base(f), ".safetensors")); name != "" && name != "base" {
			have = append(have, name)
		}
	}
	switch {
	case d.Amplify != 1 && (d.Method == "base" || d.Method == "" && !slices.Contains(have, "importance")):
		return "", fmt.Errorf("sample: the base model has no h to amplify")
	case d.Method == "" && slices.Contains(have, "importance"):
		return "importance", nil
	case d.Method == "":
		return "base", nil
	case !slices.Contains(have, d.Method):
		return "", fmt.Errorf("sample: %s has learned no %q: want one of %s", d.Folder, d.Method, strings.Join(have, ", "))
	}
	return d.Method, nil
}

func (d Draw) toy(ctx context.Context, e *engine.Engine, t *Toy) error {
	p, err := newToyProblem(t)
	if err != nil {
		return err
	}
	base, err := p.loadBase(e, d.Folder)
	if err != nil {
		return err
	}
	var control diffusion.Control
	if d.Method != "base" {
		h, err := p.loadControl(e, d.Folder, d.Method)
		if err != nil {
			return err
		}
		control = steer.Amplified{Control: h, Scale: d.Amplify}
	}
	x, err := accepted(ctx, p.sampler(e, base, control), p.reward, noise.New(d.Seed).Sub("samples"), d.N, d.Accept)
	if err != nil {
		return err
	}
	if filepath.Ext(d.Out) == ".csv" {
		return writeCSV(d.Out, x, p.dim())
	}
	if p.dim() > 2 {
		return fmt.Errorf("sample: pictures are for 1 and 2 dimensions, these samples have %d: write a .csv", p.dim())
	}
	pictures := &toyPictures{problem: p}
	return report.Panels(d.Out, []report.Panel{{Title: toyTitles[d.Method], Note: fmt.Sprintf("%d samples", d.N), Points: x}},
		report.PanelOptions{Dim: p.dim(), Columns: 1, View: pictures.view(), Contour: density(p.tilted)})
}

// loadBase returns the averaged base model of a run.
func (p *toyProblem) loadBase(e *engine.Engine, folder string) (diffusion.Model, error) {
	path := nn.Averaged("/base")
	base := p.baseModel(e, path, noise.Key{})
	if p.Base != "learned" {
		return base, nil
	}
	return base, loadParameters(checkpointFile(folder, "base"), e, path)
}

// loadControl returns the averaged h that a method of a run has learned.
func (p *toyProblem) loadControl(e *engine.Engine, folder, method string) (diffusion.Control, error) {
	path := nn.Averaged("/h/" + method)
	return p.control(e, path, noise.Key{}), loadParameters(checkpointFile(folder, method), e, path)
}

func (d Draw) mnist(ctx context.Context, e *engine.Engine, m *MNIST) error {
	prior := m.prior(e, nn.Averaged("/base"))
	prior.Velocity.Init(noise.Key{}, 0, 0)
	if err := loadParameters(checkpointFile(d.Folder, "base"), e, nn.Averaged("/base")); err != nil {
		return err
	}
	classifier := m.classifier(e, nn.Averaged("/classifier"))
	classifier.Init(noise.Key{}, 1, 0)
	if err := loadParameters(checkpointFile(d.Folder, "classifier"), e, nn.Averaged("/classifier")); err != nil {
		return err
	}
	r, err := reward.NewClass(e, classifier, classes(d.Task), m.Scale, imageShape, m.Batch)
	if err != nil {
		return err
	}
	var control diffusion.Control
	if d.Method != "base" {
		changed, err := m.variant(d.Method)
		if err != nil {
			return err
		}
		path := nn.Averaged("/h")
		if control, err = changed.control(e, path, r, prior, noise.Key{}); err != nil {
			return err
		}
		if err := loadParameters(checkpointFile(d.Folder, fileName(d.Method, d.Task)), e, path); err != nil {
			return err
		}
		control = steer.Amplified{Control: control, Scale: d.Amplify}
	}
	x, err := accepted(ctx, m.sampler(e, prior, control), r, noise.New(d.Seed).Sub("samples"), d.N, d.Accept)
	if err != nil {
		return err
	}
	if filepath.Ext(d.Out) == ".csv" {
		return writeCSV(d.Out, x, pixels)
	}
	return report.ImageGrid(d.Out, x, d.N, 28, 28, 1, min(8, d.N))
}

// accepted simulates n paths, or if only a share of them is to be accepted, enough to keep n by their weights.
func accepted(ctx context.Context, s *diffusion.Sampler, r reward.Reward, key noise.Key, n int, share float64) ([]float32, error) {
	paths, err := s.Run(ctx, key, 0, int(math.Ceil(float64(n)/share)), nil)
	if err != nil || share == 1 {
		return paths.X, err
	}
	weighted, err := finetune.Weigh(ctx, paths, r)
	if err != nil {
		return nil, err
	}
	return weighted.Accepted(n, key.Sub("accepted"))
}

// writeCSV writes one sample per line.
func writeCSV(path string, x []float32, dim int) error {
	var b strings.Builder
	for i, v := range x {
		b.WriteString(strconv.FormatFloat(float64(v), 'g', -1, 32))
		if (i+1)%dim == 0 {
			b.WriteByte('\n')
		} else {
			b.WriteByte(',')
		}
	}
	return atomicfile.Write(path, []byte(b.String()))
}
