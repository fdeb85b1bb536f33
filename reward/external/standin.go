// Package external makes rewards of programs and servers. This file is a stand-in with the signatures of the real package: a command only, without time-out
// and retries.
package external

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/internal/config"
)

// Settings say how samples are scored.
type Settings struct {
	Command []string      `yaml:"command,omitempty,flow"`
	HTTP    string        `yaml:"http,omitempty"`
	Batch   int           `yaml:"batch,omitempty"`
	Timeout time.Duration `yaml:"timeout,omitempty"`
	Retries int           `yaml:"retries,omitempty"`
}

// Check notes what is wrong with the settings.
func (s Settings) Check(c *config.Check, key string) {
	c.That(s.HTTP == "", "%s.http is not built yet", key)
}

// Located returns settings that mean the same in any working folder: arguments that name a file from here name it from the root.
func (s Settings) Located() (Settings, error) {
	s.Command = slices.Clone(s.Command)
	for i, arg := range s.Command {
		if _, err := os.Stat(arg); err != nil || i == 0 && !strings.ContainsRune(filepath.ToSlash(arg), '/') {
			continue
		}
		path, err := filepath.Abs(arg)
		if err != nil {
			return s, err
		}
		s.Command[i] = path
	}
	return s, nil
}

// Reward is a program that scores samples.
type Reward struct {
	shape   []int
	process *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
	dir     string
	lock    sync.Mutex
}

// Open starts the program. Samples have a shape.
func (s Settings) Open(ctx context.Context, shape []int) (*Reward, error) {
	r := &Reward{shape: shape, process: exec.CommandContext(ctx, s.Command[0], s.Command[1:]...)}
	r.process.Stderr = os.Stderr
	out, err := r.process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	r.out = bufio.NewReader(out)
	if r.in, err = r.process.StdinPipe(); err != nil {
		return nil, err
	}
	if r.dir, err = os.MkdirTemp("", "doob-reward"); err != nil {
		return nil, err
	}
	return r, r.process.Start()
}

// Rewards implements reward.Reward.
func (r *Reward) Rewards(_ context.Context, x []float32, n int) ([]float64, error) {
	r.lock.Lock()
	defer r.lock.Unlock()
	file := filepath.Join(r.dir, "x.safetensors")
	shape := append([]int{n}, r.shape...)
	if err := checkpoint.Save(file, checkpoint.File{Tensors: map[string]checkpoint.Tensor{"x": {Shape: shape, F32: x[:n*engine.Size(r.shape)]}}}); err != nil {
		return nil, err
	}
	head, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if err := json.NewEncoder(r.in).Encode(map[string]any{"file": file, "offset": 8 + binary.LittleEndian.Uint64(head), "shape": shape}); err != nil {
		return nil, err
	}
	line, err := r.out.ReadBytes('\n')
	if err != nil {
		return nil, fmt.Errorf("the program gave no answer: %w", err)
	}
	var answer struct{ Rewards []float64 }
	if err := json.Unmarshal(line, &answer); err != nil {
		return nil, fmt.Errorf("answer %q: %w", line, err)
	}
	return answer.Rewards, nil
}

// Close ends the program.
func (r *Reward) Close() error {
	return errors.Join(r.in.Close(), r.process.Wait(), os.RemoveAll(r.dir))
}
