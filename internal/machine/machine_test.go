package machine

import (
	"path/filepath"
	"runtime"
	"testing"
)

// What is there is more than nothing and less than a machine can have; a folder that does not exist yet is on the disk of its parent.
func TestMachine(t *testing.T) {
	const linux = runtime.GOOS == "linux"
	memory, ok := Memory()
	if ok != linux || ok && !(memory > 1e6 && memory < 1e15) {
		t.Errorf("memory %g, known %v", memory, ok)
	}
	if peak, ok := Peak(); ok != linux || ok && !(peak >= 0.9*Resident()) {
		t.Errorf("a peak of %g, now %g", peak, Resident())
	}
	large := make([]byte, 256<<20)
	for i := 0; i < len(large); i += 4096 {
		large[i] = 1
	}
	before, _ := Peak()
	runtime.KeepAlive(large)
	large = nil
	if reset := ResetPeak(); reset != linux {
		t.Errorf("the peak was reset: %v", reset)
	} else if after, ok := Peak(); ok && after > before-200<<20 {
		t.Errorf("a peak of %g, and of %g after what made it was given back", before, after)
	}
	here, ok := Disk(t.TempDir())
	if !ok {
		t.Skip("disks are unknown here")
	}
	below, _ := Disk(filepath.Join(t.TempDir(), "a", "b"))
	if !(here > 0 && below > 0 && here < 1e18) {
		t.Errorf("disk %g, of a folder to come %g", here, below)
	}
}
