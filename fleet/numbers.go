package fleet

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/cpu"

	"github.com/doob-diffusion/doob/internal/version"
)

// Numbers is all that decides about the last bits of what a machine computes. Machines that differ in it do not work for one run.
type Numbers struct {
	Doob     string `json:"doob"`     // version and commit
	Go       string `json:"go"`       // whose mathematical functions are used
	Platform string `json:"platform"` // as far as that chooses other functions
	Backend  string `json:"backend"`
}

// Local returns those of this process with a backend that describes itself so.
func Local(backend string) Numbers {
	platform := runtime.GOARCH
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "GOAMD64" || s.Key == "GOARM64" { // whether a·b + c may be one operation
				platform += " " + s.Value
			}
		}
	}
	if cpu.X86.HasFMA { // which math.Exp of Go asks for itself
		platform += " FMA"
	}
	return Numbers{Doob: version.String(), Go: runtime.Version(), Platform: platform, Backend: backend}
}

// refuse says why a worker with these numbers cannot work for a run with those; "" if it can.
func (n Numbers) refuse(worker Numbers) string {
	var differ []string
	for _, f := range []struct{ name, want, got string }{{"doob", n.Doob, worker.Doob}, {"Go", n.Go, worker.Go}, {"platform", n.Platform, worker.Platform}, {"backend", n.Backend, worker.Backend}} {
		if f.want != f.got {
			differ = append(differ, fmt.Sprintf("%s is %s, the run's is %s", f.name, f.got, f.want))
		}
	}
	if differ == nil {
		return ""
	}
	return "the worker's numbers would differ from the run's in the last digits: " + strings.Join(differ, "; ")
}
