package external

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/doob-diffusion/doob/internal/config"
)

// Settings say where rewards come from that are not part of doob: exactly one of Command and HTTP.
type Settings struct {
	Command []string      `yaml:"command,omitempty,flow"` // program and arguments, started once
	HTTP    string        `yaml:"http,omitempty"`         // URL
	Batch   int           `yaml:"batch,omitempty"`        // samples in a request, at most; 0 means 256
	Timeout time.Duration `yaml:"timeout,omitempty"`      // of an answer, and for the first one the program's start too; 0 means 2m
	Retries int           `yaml:"retries,omitempty"`      // how often a request is tried again; 0 means 3, −1 never
}

const (
	defaultBatch   = 256
	defaultTimeout = 2 * time.Minute
	defaultRetries = 3
	shortest       = time.Millisecond
)

// Check notes settings that are out of range, below a key.
func (s Settings) Check(c *config.Check, key string) {
	in := func(name string) string { return strings.TrimPrefix(key+"."+name, ".") }
	c.That((len(s.Command) > 0) != (s.HTTP != ""), "%s is %q and %s is %q, want exactly one of them: a program with its arguments, such as [python3, score.py], or a URL",
		in("command"), s.Command, in("http"), s.HTTP)
	c.That(len(s.Command) == 0 || s.Command[0] != "", "%s begins with an empty text, want the program", in("command"))
	if s.HTTP != "" {
		u, err := url.Parse(s.HTTP)
		c.That(err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "", "%s is %q, want a URL such as http://localhost:8000/score", in("http"), s.HTTP)
	}
	c.That(s.Batch >= 0, "%s is %d, want a positive number, or 0 for %d", in("batch"), s.Batch, defaultBatch)
	c.That(s.Timeout == 0 || s.Timeout >= shortest, "%s is %s, want a duration with its unit, such as 30s or 5m", in("timeout"), s.Timeout)
	c.That(s.Retries >= -1, "%s is %d, want a number of at least 0, where 0 means %d, or −1 for none", in("retries"), s.Retries, defaultRetries)
}

// Located returns settings that mean the same in any working folder: arguments that name a file from here name it from the root. A program without a slash
// in its name is searched for in PATH, as in a shell. It is an error if there is none: so a problem can say so before a run begins.
func (s Settings) Located() (Settings, error) {
	s.Command = slices.Clone(s.Command)
	for i, arg := range s.Command {
		if arg == "" || filepath.IsAbs(arg) || i == 0 && !strings.ContainsRune(filepath.ToSlash(arg), '/') {
			continue
		}
		if _, err := os.Stat(arg); err != nil {
			continue
		}
		path, err := filepath.Abs(arg)
		if err != nil {
			return s, err
		}
		s.Command[i] = path
	}
	if len(s.Command) > 0 {
		if _, err := exec.LookPath(s.Command[0]); err != nil {
			return s, fmt.Errorf("%w: command: %w", config.ErrConfig, err)
		}
	}
	return s, nil
}

// Name says which reward it is, for people.
func (s Settings) Name() string {
	if u, err := url.Parse(s.HTTP); s.HTTP != "" && err == nil {
		return u.Redacted()
	}
	return cmp.Or(s.HTTP, strings.Join(s.Command, " "))
}

// Open starts the program, or makes ready to ask the server. Shape is that of one sample. The program ends with the context, or by [Reward.Close].
func (s Settings) Open(ctx context.Context, shape []int) (*Reward, error) {
	var check config.Check
	if s.Check(&check, ""); check.Err() != nil {
		return nil, fmt.Errorf("reward: %w", check.Err())
	}
	r := &Reward{settings: s, shape: slices.Clone(shape), retries: s.Retries, pause: time.Second}
	r.settings.Batch, r.settings.Timeout = cmp.Or(s.Batch, defaultBatch), cmp.Or(s.Timeout, defaultTimeout)
	switch s.Retries {
	case 0:
		r.retries = defaultRetries
	case -1:
		r.retries = 0
	}
	if s.HTTP != "" {
		r.judge = newServer(s.HTTP)
		return r, nil
	}
	c, err := newCommand(s.Command)
	if err != nil {
		return nil, fmt.Errorf("reward %s: %w", s.Name(), err)
	}
	r.judge = c
	context.AfterFunc(ctx, func() { _ = c.Close() })
	return r, nil
}
