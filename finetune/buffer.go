package finetune

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
)

// ErrEmptyBuffer says that there is nothing to fit: no endpoint was accepted yet.
var ErrEmptyBuffer = errors.New("the replay buffer is empty: no path was accepted; simulate more paths or raise the acceptance rate")

// Buffer is the replay buffer of Algorithm 1: the newest Capacity accepted endpoints, first in, first out.
type Buffer struct {
	Capacity int // samples
	Dim      int // numbers per sample

	rows []float32 // ring once full
	next int       // sample that the next one replaces
}

// Len returns the number of samples held.
func (b *Buffer) Len() int { return len(b.rows) / b.Dim }

// Append adds samples, row-major [n, Dim], dropping the oldest beyond the capacity.
func (b *Buffer) Append(x []float32) {
	for lo := 0; lo < len(x); lo += b.Dim {
		row := x[lo : lo+b.Dim]
		if b.Len() < b.Capacity {
			b.rows = append(b.rows, row...)
			continue
		}
		copy(b.rows[b.next*b.Dim:], row)
		b.next = (b.next + 1) % b.Capacity
	}
}

// State returns the samples held, row-major [Len, Dim] and shared with the buffer, and the one that the next replaces.
func (b *Buffer) State() (rows []float32, next int) { return b.rows, b.next }

// Restore makes the buffer what it was when State returned these values. It fails if no buffer of this Capacity and Dim can
// have been in that state, and then changes nothing.
func (b *Buffer) Restore(rows []float32, next int) error {
	n := len(rows) / b.Dim
	switch full := n == b.Capacity; {
	case n*b.Dim != len(rows):
		return fmt.Errorf("replay buffer: %d numbers, want samples of %d each", len(rows), b.Dim)
	case n > b.Capacity:
		return fmt.Errorf("replay buffer: %d samples, want at most %d", n, b.Capacity)
	case next < 0 || full && next >= n || !full && next != 0:
		return fmt.Errorf("replay buffer: sample %d is next to be replaced, of %d in a buffer of %d", next, n, b.Capacity)
	}
	b.rows, b.next = slices.Clone(rows), next
	return nil
}

// Draw fills dst [n, Dim] with samples drawn uniformly, with replacement.
func (b *Buffer) Draw(dst []float32, r *rand.Rand) error {
	if b.Len() == 0 {
		return ErrEmptyBuffer
	}
	for lo := 0; lo < len(dst); lo += b.Dim {
		i := r.IntN(b.Len())
		copy(dst[lo:lo+b.Dim], b.rows[i*b.Dim:(i+1)*b.Dim])
	}
	return nil
}
