package attention_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/doob-diffusion/doob/cpu/internal/attention"
	"github.com/doob-diffusion/doob/cpu/internal/kern"
)

// Any shape, on every instruction set, against all scores at once.
func FuzzAttention(f *testing.F) {
	for _, seed := range [][6]uint16{{0, 0, 0, 0, 0, 0}, {1, 76, 76, 2, 39, 1}, {0, 95, 255, 0, 79, 2}, {2, 96, 256, 1, 0, 0}, {0, 200, 300, 0, 47, 1}, {1, 11, 12, 3, 31, 2}} {
		f.Add(seed[0], seed[1], seed[2], seed[3], seed[4], seed[5])
	}
	f.Fuzz(func(t *testing.T, batch, queries, keys, heads, dim, kind uint16) {
		s := attention.Spec{Batch: int(batch%3) + 1, Queries: int(queries%300) + 1, Keys: int(keys%600) + 1, Heads: int(heads%3) + 1, Dim: int(dim%170) + 1}
		switch kind % 3 {
		case 1:
			s.Causal, s.Keys = true, s.Queries
		case 2:
			s.Biased = true
		}
		if s.Batch*s.Heads*s.Queries*s.Keys*s.Dim > 1e7 {
			t.Skip("takes long")
		}
		o := random(s, 8)
		want := plain(s, o)
		// Gradients may be 0 as sums of differences, of which each is rounded.
		least := math.Sqrt(float64(s.Queries + s.Keys))
		for _, table := range kern.Tables() {
			for i, got := range run(t, s, o, table, 2) {
				near(t, fmt.Sprintf("%s %+v: %s", table.Name, s, names[i]), got, want[i], 1e-5, least)
			}
		}
	})
}
