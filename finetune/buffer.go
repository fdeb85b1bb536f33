package finetune

import (
	"errors"
	"math/rand/v2"
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
