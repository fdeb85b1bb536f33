//go:build xla

package finetune

import (
	"testing"

	"github.com/doob-diffusion/doob/internal/oracle"
)

// The objectives of others are on XLA what the reference libraries compute, with their gradients to an adapter.
func TestXLA(t *testing.T) {
	backend = oracle.XLA(t)
	defer func() { backend = "" }()
	t.Run("Policy", TestPolicyLossesOfTheReference)
	t.Run("AdjointMatching", TestAdjointMatchingOfStableDiffusion)
}
