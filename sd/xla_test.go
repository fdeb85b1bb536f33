//go:build xla

package sd

import (
	"testing"

	"github.com/doob-diffusion/doob/internal/oracle"
)

// All networks compute on XLA what the reference libraries do.
func TestXLA(t *testing.T) {
	only := oracle.XLA(t)
	backends = func() []string { return []string{only} }
	defer func() { backends = oracle.Backends }()
	t.Run("TextEncoder", TestTextEncoder)
	t.Run("UNet", TestUNet)
	t.Run("UNetOfSecondVersion", TestUNetOfSecondVersion)
	t.Run("UNetAttendsToFaintPictures", TestUNetAttendsToFaintPictures)
	t.Run("UNetGradients", TestUNetGradients)
	t.Run("Addition", TestAddition)
	t.Run("Encode", TestEncode)
	t.Run("Guided", TestGuided)
	t.Run("VAE", TestVAE)
	t.Run("VAEDecodes", TestVAEDecodes)
	t.Run("CLIP", TestCLIP)
	t.Run("ImageReward", TestImageReward)
}
