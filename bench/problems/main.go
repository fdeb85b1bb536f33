// Command problems writes what other people's libraries need to work on a problem of doob: what it asks, the exact numbers
// that judge the answers, and examples by which the Python programs beside it check that they compute what doob computes.
//
//	go run ./bench/problems -run RUN -out DIR
//
// RUN is a run folder of toy or superres whose networks are trained. DIR gets problem.json and tensors.safetensors. README.md
// beside this file says what is compared, and how.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/goccy/go-yaml"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/experiment/superres"
	"github.com/doob-diffusion/doob/experiment/toy"
	"github.com/doob-diffusion/doob/internal/atomicfile"
	"github.com/doob-diffusion/doob/nn"
)

// dump is what is written of a run.
type dump struct {
	lab      *experiment.Lab
	folder   string
	settings map[string]any
	tensors  map[string]checkpoint.Tensor
}

func main() {
	folder := flag.String("run", "", "run folder of toy or superres")
	out := flag.String("out", "", "folder for problem.json and tensors.safetensors")
	flag.Parse()
	if err := write(context.Background(), *folder, *out); err != nil {
		fmt.Fprintln(os.Stderr, "problems:", err)
		os.Exit(1)
	}
}

func write(ctx context.Context, folder, out string) error {
	if folder == "" || out == "" {
		return fmt.Errorf("-run %q, -out %q: want both folders", folder, out)
	}
	p, err := problemOf(folder)
	if err != nil {
		return err
	}
	e, err := engine.Open("")
	if err != nil {
		return err
	}
	d := &dump{lab: &experiment.Lab{Engine: e}, folder: folder, tensors: map[string]checkpoint.Tensor{}}
	switch p := p.(type) {
	case *toy.Problem:
		err = d.toy(ctx, p)
	case *superres.Problem:
		err = d.superres(ctx, p)
	}
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	text, err := json.MarshalIndent(d.settings, "", "  ")
	if err != nil {
		return err
	}
	if err := atomicfile.Write(filepath.Join(out, "problem.json"), append(text, '\n')); err != nil {
		return err
	}
	return checkpoint.Save(filepath.Join(out, "tensors.safetensors"), checkpoint.File{Tensors: d.tensors})
}

// problemOf reads the configuration of a run folder, also of one whose run is not at its end.
func problemOf(folder string) (experiment.Problem, error) {
	file := filepath.Join(folder, "config.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var kind struct {
		Experiment string `yaml:"experiment"`
	}
	if err := yaml.Unmarshal(text, &kind); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if kind.Experiment != "toy" && kind.Experiment != "superres" {
		return nil, fmt.Errorf("%s: experiment is %q, want toy or superres", file, kind.Experiment)
	}
	return experiment.New(kind.Experiment, "", file, nil)
}

// floats adds a tensor of float32; the first dimension follows from the number of values.
func (d *dump) floats(name string, values []float32, shape ...int) {
	d.tensors[name] = checkpoint.Tensor{Shape: append([]int{len(values) / engine.Size(shape)}, shape...), F32: values}
}

// doubles adds a tensor of float64, likewise.
func (d *dump) doubles(name string, values []float64, shape ...int) {
	d.tensors[name] = checkpoint.Tensor{Shape: append([]int{len(values) / engine.Size(shape)}, shape...), F64: values}
}

// steps adds a kernel's table, a row (T, Next, A, K, S) for every step.
func (d *dump) steps(steps []diffusion.Step) {
	var rows []float64
	for _, s := range steps {
		rows = append(rows, s.T, s.Next, s.A, s.K, s.S)
	}
	d.doubles("steps", rows, 5)
}

// load makes the base model of a run, and loads it from the checkpoint of that name.
func (d *dump) load(p experiment.Problem, name string) error {
	path := nn.Averaged("/base")
	for _, n := range p.Networks() {
		if n.Name == "base" {
			if _, err := n.Init(d.lab.Engine.Scope(path), d.lab.Key); err != nil {
				return err
			}
		}
	}
	return nn.Load(filepath.Join(d.folder, "checkpoint", name+".safetensors"), d.lab.Engine, path)
}
