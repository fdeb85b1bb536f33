package experiment_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/internal/oracle"
)

// Where no byte more can be written, whatever comes next, weights, pictures or the report, the run ends and says how it goes on; and it does, to the same bytes.
//
// It is done by a process of its own, for the limit on the size of files stops the test's other files too.
func TestFullDisk(t *testing.T) {
	if os.Getenv("DOOB_FULL") == "" {
		own := exec.Command(os.Args[0], "-test.run=^TestFullDisk$")
		own.Env = append(os.Environ(), "DOOB_FULL=1")
		if said, err := own.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, said)
		}
		return
	}
	sets := append([]string{"tasks=[even]", "methods=[base, importance, importance_rejection]"}, append(slices.Clone(small), "previews=2")...)
	whole := run(t, tiny(t, "mnist", sets...), "cpu")
	want := outcome(t, whole.folder)
	picture := slices.IndexFunc(whole.events, func(ev experiment.Event) bool { return ev.Picture != "" }) // the event before it is the last one with room
	if picture < 1 {
		t.Fatal("the run tells of no picture")
	}
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	room := func(most uint64) {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: most, Max: before.Max}); err != nil {
			t.Fatal(err)
		}
	}
	defer room(before.Cur)
	for _, last := range []int{picture, len(whole.events)} { // the last event is followed by figures and the report
		t.Setenv("DOOB_DATA", t.TempDir())
		folder, n := filepath.Join(t.TempDir(), "run"), 0
		_, err := experiment.Run(t.Context(), tiny(t, "mnist", sets...), folder, "cpu", func(experiment.Event) {
			if n++; n == last {
				room(0)
			}
		})
		room(before.Cur)
		oracle.WantError(t, err, "once there is room on the disk, doob run --resume "+folder)
		if !errors.Is(err, syscall.EFBIG) {
			t.Errorf("after event %d: %v, want %v", last, err, syscall.EFBIG)
		}
		resume(t, folder)
		same(t, fmt.Sprintf("full after event %d of %d", last, len(whole.events)), want, outcome(t, folder))
	}
}
