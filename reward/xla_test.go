//go:build xla

package reward

import (
	"testing"

	"github.com/doob-diffusion/doob/internal/oracle"
)

// Rewards of pictures are on XLA what the reference libraries compute, with their gradient.
func TestXLA(t *testing.T) {
	was := backend
	backend = oracle.XLA(t)
	defer func() { backend = was }()
	t.Run("ImageReward", TestImageReward)
	t.Run("ImageRewardGradient", TestImageRewardGradient)
	t.Run("CLIP", TestCLIP)
}
