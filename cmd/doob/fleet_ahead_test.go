//go:build linux || darwin

package main

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// With paths of an older h, trainers and workers are killed as in [TestWorkersKilled]. What flies when a trainer dies is begun anew, with a newer h, so that bytes may
// be others: but log Ẑ is that of a run that was alone, within the errors of both. It takes DOOB_KILLS=N.
func TestAheadKilled(t *testing.T) {
	want, _ := strconv.Atoi(os.Getenv("DOOB_KILLS"))
	if want == 0 {
		t.Skip("kills processes for minutes: wants DOOB_KILLS=10, or more")
	}
	run := []string{"run", "toy", "--json", "--config", "../../experiment/testdata/tiny.yaml", "--set", "samples=1000", "--set", "methods=[base, importance]",
		"--set", "importance.iterations=12", "--set", "importance.paths=200", "--set", "importance.updates=30", "--set", "importance.staleness=2"}
	dir := t.TempDir()
	whole := filepath.Join(dir, "whole")
	execute(t, dir, append(run, "--out", whole)...)
	f := newFleetProcesses(t, dir)
	f.most = [3]int{want, want, 0}
	logZ, se := evidence(t, whole)
	for round := 0; f.trainers < want || f.killed < want; round++ {
		folder := filepath.Join(dir, strconv.Itoa(round))
		before := f.trainers
		f.round(t, folder, append(run, "--out", folder))
		got, gotSE := evidence(t, folder)
		t.Logf("round %d: log Ẑ %.3f ± %.3f, alone %.3f ± %.3f; %d trainers killed in it, %d and %d workers in all", round+1, got, gotSE, logZ, se, f.trainers-before, f.trainers, f.killed)
		if apart := (got - logZ) / math.Hypot(se, gotSE); math.Abs(apart) > 4 {
			t.Errorf("log Ẑ is %.1f standard errors from that of a run that was alone", apart)
		}
	}
}

// evidence is the certificate's log Ẑ of importance, with its standard error.
func evidence(t *testing.T, folder string) (logZ, se float64) {
	t.Helper()
	var report struct {
		Methods map[string]struct {
			LogZ float64 `json:"log_z"`
			SE   float64 `json:"log_z_se"`
		}
	}
	if err := json.Unmarshal([]byte(text(t, folder, "report.json")), &report); err != nil {
		t.Fatal(err)
	}
	m, ok := report.Methods["importance"]
	if !ok || m.SE <= 0 {
		t.Fatalf("no log Ẑ with an error in %s: %+v", folder, report)
	}
	return m.LogZ, m.SE
}
