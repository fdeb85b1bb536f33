//go:build xla

package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/gomlx/compute"
	"github.com/gomlx/go-xla/compute/xla"
)

// The XLA backend needs cgo and a PJRT plugin, given by its absolute path so that nothing is looked for or downloaded:
//
//	go build -tags xla ./cmd/doob
//	doob run toy --backend xla:/path/to/plugin.so
func init() {
	openers[xla.BackendName] = func(config string) (compute.Backend, error) {
		plugin, _, _ := strings.Cut(config, ",")
		if !filepath.IsAbs(plugin) {
			return nil, fmt.Errorf("the absolute path of a PJRT plugin is wanted, as in xla:/path/to/plugin.so, got %q", config)
		}
		if err := os.Setenv("GOMLX_NO_AUTO_INSTALL", "1"); err != nil {
			return nil, err
		}
		return xla.New(config)
	}
}
