package external

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/doob-diffusion/doob/checkpoint"
)

// command is a program that is started once, and again when it has died or was late.
type command struct {
	args []string

	mu       sync.Mutex // held by whoever talks to the program
	running  *process   // nil if none is
	asked    int
	answered bool // ever
	closed   bool
}

var _ judge = (*command)(nil)

func newCommand(args []string) (*command, error) {
	c := &command{args: args}
	var err error
	c.running, err = start(args)
	return c, err
}

// Close implements [io.Closer]: the program's input ends, and if it does not end itself soon, it is killed.
func (c *command) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed = true; c.running != nil {
		c.running.end()
		c.running = nil
	}
	return nil
}

// ask implements [judge]. After an error the program is gone: what it might still answer would be taken for the answer to another request.
func (c *command) ask(ctx context.Context, b *batch) (text []byte, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errors.New("it was closed")
	}
	c.asked++
	b.id = c.asked
	line, done, err := request(b)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, done()) }()
	if c.running == nil {
		if c.running, err = start(c.args); err != nil {
			return nil, err
		}
	}
	text, err = c.running.talk(ctx, line, b.longest())
	if err == nil {
		c.answered = true
		return text, nil
	}
	p := c.running
	c.running = nil
	state := p.kill()
	switch cause := context.Cause(ctx); {
	case cause != nil && !errors.Is(cause, ErrLate):
		return nil, cause
	case cause != nil && !c.answered:
		return nil, fmt.Errorf("%w: the first answer takes as long as the program's start too; does it write a whole line, and flush its output?%s", cause, p.stderr)
	case cause != nil:
		return nil, again{error: fmt.Errorf("%w%s", cause, p.stderr)}
	case errors.Is(err, ErrAnswer):
		return nil, fmt.Errorf("%w%s", err, p.stderr)
	}
	err = fmt.Errorf("%w (%s): it must go on reading requests until its standard input ends%s", ErrDied, state, p.stderr)
	if !c.answered {
		return nil, err // as it will be the next time
	}
	return nil, again{error: err}
}

// request writes the file of a batch, and returns the line that tells of it and what removes it.
func request(b *batch) (line []byte, done func() error, err error) {
	f, err := os.CreateTemp("", "doob-*.safetensors")
	if err != nil {
		return nil, nil, err
	}
	done = func() error {
		if err := os.Remove(f.Name()); !errors.Is(err, fs.ErrNotExist) { // the program may have done it
			return err
		}
		return nil
	}
	err = checkpoint.Write(f, b.file())
	size, sought := f.Seek(0, io.SeekCurrent)
	if err = errors.Join(err, sought, f.Close()); err == nil {
		line, err = json.Marshal(struct {
			File     string            `json:"file"`
			Offset   int64             `json:"offset"`
			Shape    []int             `json:"shape"`
			ID       int               `json:"id"`
			Metadata map[string]string `json:"metadata,omitempty"`
		}{f.Name(), size - 4*int64(len(b.x)), b.shape, b.id, b.metadata})
	}
	if err != nil {
		return nil, nil, errors.Join(err, done())
	}
	return append(line, '\n'), done, nil
}

// process is the program while it runs.
type process struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	pipe   io.ReadCloser
	out    *bufio.Reader
	stderr *tail
	wait   func() string // how it has ended
	kill   func() string // at once, with what it has started; the same
}

func start(args []string) (*process, error) {
	p := &process{cmd: exec.Command(args[0], args[1:]...), stderr: &tail{}}
	p.cmd.Env = append(os.Environ(), "PYTHONUNBUFFERED=1") // so that print answers at once
	p.cmd.Stderr, p.cmd.WaitDelay = p.stderr, time.Second
	alone(p.cmd)
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if p.pipe, err = p.cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(p.pipe)
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	p.wait = sync.OnceValue(func() string {
		_ = p.cmd.Wait() // that it failed is in its state
		return p.cmd.ProcessState.String()
	})
	p.kill = sync.OnceValue(func() string { // once: its number may be another's after that
		slay(p.cmd)
		_ = p.in.Close() // also where something that it has started lives on
		_ = p.pipe.Close()
		return p.wait()
	})
	return p, nil
}

// talk sends a line and returns the line that comes back.
func (p *process) talk(ctx context.Context, line []byte, longest int) ([]byte, error) {
	stop := context.AfterFunc(ctx, func() { p.kill() }) // which ends what follows
	defer stop()
	if n := p.out.Buffered(); n > 0 {
		text, _ := p.out.Peek(n)
		return nil, fmt.Errorf("%w: the program has written %s without a request; what is for people belongs to standard error", ErrAnswer, excerpt(text))
	}
	if _, err := p.in.Write(line); err != nil {
		return nil, err
	}
	var text []byte
	for {
		part, err := p.out.ReadSlice('\n')
		text = append(text, part...)
		if len(text) > longest {
			return nil, fmt.Errorf("%w: got more than %d bytes: %s", ErrAnswer, longest, excerpt(text))
		}
		if err == nil && !stop() {
			err = ctx.Err() // it came, but the program is being killed
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return text, err
		}
	}
}

// end lets the program end by itself for a while.
func (p *process) end() {
	_ = p.in.Close()
	ended := make(chan struct{})
	go func() {
		p.wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(2 * time.Second):
		p.kill()
	}
}

// tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const tailSize = 4096

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b...)
	if over := len(t.text) - tailSize; over > 0 {
		t.text = append(t.text[:0], t.text[over:]...)
	}
	return len(b), nil
}

// String is what an error adds; "" if nothing was written.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.text) == 0 {
		return ""
	}
	return "; the end of its standard error:\n" + string(t.text)
}
