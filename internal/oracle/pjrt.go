package oracle

import (
	"os"
	"slices"
	"testing"

	"github.com/doob-diffusion/doob/engine"
)

// plugin is the environment variable with the absolute path of a PJRT plug-in, on which XLA is tested.
const plugin = "DOOB_PJRT_PLUGIN"

// xla is the name of a backend that cannot be opened by its name alone.
const xla = "xla"

// Backends lists the backends that a test of all of them opens: those of this build, XLA only if there is a plug-in.
func Backends() []string {
	names := slices.DeleteFunc(engine.Backends(), func(name string) bool { return name == xla })
	if path := os.Getenv(plugin); path != "" && len(names) < len(engine.Backends()) {
		names = append(names, xla+":"+path)
	}
	return names
}

// XLA returns the name of the XLA backend on the plug-in. Without one it skips the test.
func XLA(t testing.TB) string {
	t.Helper()
	path := os.Getenv(plugin)
	if path == "" {
		t.Skipf("XLA is not tested: %s does not name a PJRT plug-in; bench/pjrt.sh gets one for the CPU", plugin)
	}
	return xla + ":" + path
}
