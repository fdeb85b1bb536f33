package method

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/noise"
)

// With staleness 2 three iterations are in the air at any time, each is started once, with its own key and the h of that moment, and none over a restart or the end.
func TestAhead(t *testing.T) {
	f := &finetune.FineTuning{Iterations: 7, Restarts: []int{5}, Paths: 7, Key: noise.New(3)}
	var log []string
	h := 0
	start := func(_ context.Context, key noise.Key, from, n int, visit diffusion.Visitor) (func(context.Context) (diffusion.Paths, error), error) {
		k := slices.IndexFunc([]int{0, 1, 2, 3, 4, 5, 6}, func(k int) bool { return key == f.Key.Sub("simulate").At(k) })
		begun := fmt.Sprintf("%d by h %d", k, h)
		log = append(log, "start "+begun)
		if from != 0 || n != 7 || visit != nil {
			t.Errorf("started %d paths from %d", n, from)
		}
		return func(context.Context) (diffusion.Paths, error) {
			log = append(log, "wait "+begun)
			return diffusion.Paths{N: k}, nil
		}, nil
	}
	simulate := ahead(f, start, 2)
	for k := 1; k < 7; k++ { // the pool took the place of the first
		if paths, err := simulate(t.Context(), k); err != nil || paths.N != k {
			t.Errorf("iteration %d: got that of %d (%v)", k, paths.N, err)
		}
		h++
	}
	want := []string{"start 1 by h 0", "start 2 by h 0", "start 3 by h 0", "wait 1 by h 0", "start 4 by h 1", "wait 2 by h 0", "wait 3 by h 0", "wait 4 by h 1",
		"start 5 by h 4", "start 6 by h 4", "wait 5 by h 4", "wait 6 by h 4"}
	if !slices.Equal(log, want) {
		t.Errorf("got %q\nwant %q", log, want)
	}
}
