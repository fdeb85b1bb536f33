package external

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/reward"
)

var (
	// ErrLate says that there was no answer in time.
	ErrLate = errors.New("no answer in time")
	// ErrDied says that a program ended when it should have answered.
	ErrDied = errors.New("the program ended without an answer")
	// ErrConnection says that a server could not be reached, or did not finish its answer.
	ErrConnection = errors.New("no connection")
	// ErrStatus says that a server refused.
	ErrStatus = errors.New("the server refused")
	// ErrAnswer says that an answer is not what package external wants.
	ErrAnswer = errors.New("not an answer")
	// ErrScorer says that the scorer has said itself that it cannot score the samples.
	ErrScorer = errors.New("the scorer says")
)

// judge is what scores samples.
type judge interface {
	// ask returns the text of the answer. The context ends when the answer is late.
	ask(ctx context.Context, b *batch) ([]byte, error)
	io.Closer
}

// batch is one request.
type batch struct {
	id       int // that the answer may repeat; 0 for none
	x        []float32
	shape    []int // the number of samples first
	metadata map[string]string
}

// file is the batch as safetensors.
func (b *batch) file() checkpoint.File {
	return checkpoint.File{Tensors: map[string]checkpoint.Tensor{"x": {Shape: b.shape, F32: b.x}}, Metadata: b.metadata}
}

// longest is how many bytes an answer may have: much more than any number takes.
func (b *batch) longest() int { return 1<<16 + 256*b.shape[0] }

// again is an error that may not come again, and for how long to wait if the other side has said so.
type again struct {
	error
	after time.Duration
}

func (e again) Unwrap() error { return e.error }

// Reward is a program or a server that scores samples, by [Settings.Open].
type Reward struct {
	settings Settings
	shape    []int // of one sample
	metadata map[string]string
	retries  int
	pause    time.Duration // before the first retry
	judge    judge
}

var (
	_ reward.Reward = (*Reward)(nil)
	_ io.Closer     = (*Reward)(nil)
)

// With returns the reward with metadata in its requests, such as the prompt that pictures are for. Program and server are the same, and closed once.
func (r *Reward) With(metadata map[string]string) *Reward {
	out := *r
	out.metadata = metadata
	return &out
}

// Close ends the program.
func (r *Reward) Close() error { return r.judge.Close() }

// Rewards implements [reward.Reward]. Errors wrap [reward.ErrFailed] and one of [ErrLate], [ErrDied], [ErrConnection], [ErrStatus], [ErrAnswer], [ErrScorer] and [reward.ErrInvalid].
func (r *Reward) Rewards(ctx context.Context, x []float32, n int) ([]float64, error) {
	dim := engine.Size(r.shape)
	if len(x) != n*dim {
		return nil, fmt.Errorf("reward %s: of %d numbers, want %d samples %v", r.settings.Name(), len(x), n, r.shape)
	}
	out, send := make([]float64, n), make([]int, 0, n)
	for i := range n {
		if out[i] = math.Inf(-1); !slices.ContainsFunc(x[i*dim:(i+1)*dim], func(v float32) bool { return v-v != 0 }) {
			send = append(send, i)
		}
	}
	for part := range slices.Chunk(send, r.settings.Batch) {
		b := &batch{shape: append([]int{len(part)}, r.shape...), metadata: r.metadata, x: make([]float32, 0, len(part)*dim)}
		for _, i := range part {
			b.x = append(b.x, x[i*dim:(i+1)*dim]...)
		}
		text, err := r.ask(ctx, b)
		if err == nil {
			err = parse(text, b.id, func(k int, v float64) { out[part[k]] = v }, part, n)
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", reward.ErrFailed, r.settings.Name(), err)
		}
	}
	return out, nil
}

// ask returns an answer, after retries.
func (r *Reward) ask(ctx context.Context, b *batch) ([]byte, error) {
	const longest = time.Minute // that a pause takes
	pause := r.pause
	for tried := 1; ; tried++ {
		text, err := r.once(ctx, b)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		var may again
		if !errors.As(err, &may) {
			return text, err
		}
		if tried > r.retries {
			if tried > 1 {
				err = fmt.Errorf("tried %d times: %w", tried, err)
			}
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(min(max(pause, may.after), longest)):
		}
		pause *= 2
	}
}

// once asks with the time that an answer may take.
func (r *Reward) once(ctx context.Context, b *batch) ([]byte, error) {
	late := fmt.Errorf("%w, which is timeout: %s", ErrLate, r.settings.Timeout)
	ctx, cancel := context.WithTimeoutCause(ctx, r.settings.Timeout, late)
	defer cancel()
	return r.judge.ask(ctx, b)
}
