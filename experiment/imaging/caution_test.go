package imaging

import (
	"strings"
	"testing"

	"github.com/doob-diffusion/doob/nn"
)

// A covariance of n samples has rank n − 1: with as many features or more, that is not full.
func TestFewSamples(t *testing.T) {
	c := Classifier{CNN: nn.CNN{Width: 8}}
	features := c.In(nil, 1, 1).FeatureSize()
	for samples, few := range map[int]bool{0: false, 1: true, features: true, features + 1: false, 10 * features: false} {
		got := FewSamples(samples, c)
		if (len(got) == 1) != few || few && !strings.Contains(got[0], "biased upward") {
			t.Errorf("%d samples of %d features: %q", samples, features, got)
		}
	}
}
