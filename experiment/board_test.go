package experiment_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/internal/oracle"
)

// boarded is a run with everything that a board shows: previews, held-out measurements, training of networks, tasks.
func boarded(t *testing.T, kind string) experiment.Problem {
	if kind == "superres" {
		return tiny(t, kind, "methods=[dps, importance]", "drawn=50", "measurements=2", "held=1", "samples=2", "process.steps=3", "dps.paths=4", "previews=1")
	}
	return tiny(t, kind, append(slices.Clone(small), "tasks=[even]", "methods=[base, importance]", "pool=10", "previews=2", "seeds=2")...)
}

// However often a run is killed, its event files say every step once, the last time that it was done, and nothing else.
func TestBoard(t *testing.T) {
	for kind, every := range map[string]int{"superres": 7, "mnist": 11} {
		t.Setenv("DOOB_DATA", t.TempDir())
		folder, n, killed := filepath.Join(t.TempDir(), "run"), 0, []string(nil)
		_, err := experiment.Run(t.Context(), boarded(t, kind), folder, "cpu", func(experiment.Event) {
			if n++; n%every == 3 {
				killed = append(killed, copied(t, folder))
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		checkBoard(t, kind, folder)
		want := steps(t, folder)
		for i, folder := range killed {
			files, err := filepath.Glob(filepath.Join(folder, "tensorboard", "*", "*"))
			if err != nil {
				t.Fatal(err)
			}
			if i%2 == 0 && len(files) > 0 { // in the middle of a record
				torn := files[len(files)-1]
				write(t, torn, oracle.Read(t, torn)[:60])
			}
			resume(t, folder)
			checkBoard(t, fmt.Sprintf("%s, killed %d", kind, i), folder)
			if d := cmp.Diff(want, steps(t, folder)); d != "" {
				t.Errorf("%s, killed %d: steps (-want +got)\n%s", kind, i, d)
			}
		}
	}
}

// steps are those of every tag.
func steps(t *testing.T, folder string) map[string][]int64 {
	t.Helper()
	out := map[string][]int64{}
	for name, events := range oracle.BoardFiles(t, filepath.Join(folder, "tensorboard")) {
		for _, ev := range events {
			tags := slices.Concat(slices.Collect(maps.Keys(ev.Scalars)), slices.Collect(maps.Keys(ev.Texts)), slices.Collect(maps.Keys(ev.PNGs)))
			for _, tag := range tags {
				if tag != "training/loss" { // which is told by the clock
					out[name+":"+tag] = append(out[name+":"+tag], ev.Step)
				}
			}
		}
	}
	return out
}

// checkBoard compares event files with events.jsonl, read as plain JSON, and with the pictures of the folder.
func checkBoard(t *testing.T, what, folder string) {
	t.Helper()
	names := map[string]string{"iteration": "iteration/", "held": "held/", "result": "result/"}
	want := map[string]map[int64]map[string]float64{} // by log and series, then step
	for line := range strings.Lines(oracle.Read(t, filepath.Join(folder, "events.jsonl"))) {
		var ev map[string]any
		if err := json.Unmarshal([]byte(line), &ev); err != nil {
			t.Fatal(err)
		}
		log, step := fmt.Sprint(ev["stage"]), int64(ev["done"].(float64))
		if task, ok := ev["task"]; ok {
			log += fmt.Sprint("_", task)
		}
		if ev["seed"] == 2. {
			log += "_seed_2"
		}
		for member, prefix := range names {
			object, ok := ev[member].(map[string]any)
			if _, network := object["stored"]; !ok || network {
				continue
			}
			at := log + " " + prefix
			if want[at] == nil {
				want[at] = map[int64]map[string]float64{}
			}
			want[at][step] = map[string]float64{}
			for _, key := range []string{"reward", "kl", "log_z", "log_z_se", "l_sc", "l_sc_se", "ess_fraction", "acceptance", "loss", "seconds", "psnr", "network_calls"} {
				if v, ok := object[key].(float64); ok {
					want[at][step][key] = v
				}
			}
		}
	}
	got := map[string]map[int64]map[string]float64{}
	all := oracle.BoardFiles(t, filepath.Join(folder, "tensorboard"))
	for log, events := range all {
		for _, ev := range events {
			for _, prefix := range names {
				at := log + " " + prefix
				for key, v := range ev.Scalars {
					key, of := strings.CutPrefix(key, prefix)
					if !of {
						continue
					}
					if got[at] == nil {
						got[at] = map[int64]map[string]float64{}
					}
					if got[at][ev.Step] == nil {
						got[at][ev.Step] = map[string]float64{}
					}
					got[at][ev.Step][key] = v
				}
			}
		}
	}
	if len(want) < 3 {
		t.Errorf("%s: events tell of %d series only", what, len(want))
	}
	for at, steps := range want {
		if d := cmp.Diff(slices.Sorted(maps.Keys(steps)), slices.Sorted(maps.Keys(got[at]))); d != "" {
			t.Errorf("%s: steps of %s (-events.jsonl +board)\n%s", what, at, d)
		}
		for step, numbers := range steps {
			for key, v := range numbers {
				if g, ok := got[at][step][key]; !ok || math.Abs(g-v) > 1e-6*math.Abs(v) {
					t.Errorf("%s: %s%s of step %d is %v, want %v", what, at, key, step, g, v)
				}
			}
		}
	}
	previews := 0
	for log, events := range all {
		for _, ev := range events {
			for tag, file := range ev.PNGs {
				path := map[string]string{"preview": fmt.Sprintf("samples/%s_iteration_%03d.png", log, ev.Step), "samples": "samples/" + log + ".png"}[tag]
				if path == "" {
					path = tag + ".png"
				}
				if file != oracle.Read(t, filepath.Join(folder, path)) {
					t.Errorf("%s: picture %s of %s, step %d, is not %s", what, tag, log, ev.Step, path)
				}
				if tag == "preview" {
					previews++
				}
			}
		}
	}
	if files, err := filepath.Glob(filepath.Join(folder, "samples", "*_iteration_*.png")); err != nil || len(files) != previews || previews < 2 {
		t.Errorf("%s: %d previews, want all of %v", what, previews, files)
	}
	config := oracle.Read(t, filepath.Join(folder, "config.yaml"))
	if run := all["run"]; len(run) != 3 || run[1].Texts["config"] != "```yaml\n"+config+"```\n" || run[2].PNGs["figures/training"] == "" {
		t.Errorf("%s: the log of the run lacks configuration or figures", what)
	}
}

// Without them a run is the same; where they cannot be written, it says so and goes on.
func TestWithoutBoard(t *testing.T) {
	sets := append([]string{"methods=[importance]"}, plain...)
	want := outcome(t, run(t, tiny(t, "toy", sets...), "cpu").folder)
	off := run(t, tiny(t, "toy", append(sets, "no_tensorboard=true")...), "cpu")
	if _, err := os.Stat(filepath.Join(off.folder, "tensorboard")); err == nil {
		t.Error("no_tensorboard has no effect")
	}
	same(t, "no_tensorboard", want, outcome(t, off.folder))
	folder, warnings := filepath.Join(t.TempDir(), "run"), 0
	_, err := experiment.Run(t.Context(), tiny(t, "toy", sets...), folder, "cpu", func(ev experiment.Event) {
		if ev.Config != "" {
			if err := os.RemoveAll(filepath.Join(folder, "tensorboard")); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(folder, "tensorboard"), "a file in the way")
		}
		if strings.Contains(ev.Warning, "TensorBoard") {
			warnings++
		}
	})
	if err != nil || warnings != 1 {
		t.Errorf("error %v, %d warnings, want one", err, warnings)
	}
	same(t, "a file in the way", want, outcome(t, folder))
}

// TensorBoard's own reader sees the same steps and numbers. DOOB_PYTHON names a Python that has it.
func TestBoardInPython(t *testing.T) {
	python := os.Getenv("DOOB_PYTHON")
	if python == "" || exec.Command(python, "-c", "import tensorboard").Run() != nil {
		t.Skip("DOOB_PYTHON names no Python with tensorboard: what it reads in our event files is not tested")
	}
	d := run(t, boarded(t, "superres"), "cpu")
	dir := filepath.Join(d.folder, "tensorboard")
	const script = `
import json, sys
from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
m = EventMultiplexer(size_guidance={"scalars": 0, "images": 0, "tensors": 0}).AddRunsFromDirectory(sys.argv[1])
m.Reload()
out = {"scalars": {}, "images": {}, "texts": {}}
for run, tags in m.Runs().items():
    for tag in tags["scalars"]:
        for e in m.Scalars(run, tag): out["scalars"][f"{run}:{tag}:{e.step}"] = e.value
    for tag in tags["images"]:
        for e in m.Images(run, tag): out["images"][f"{run}:{tag}:{e.step}"] = [e.width, e.height]
    for tag in tags["tensors"]:
        for e in m.Tensors(run, tag): out["texts"][f"{run}:{tag}:{e.step}"] = e.tensor_proto.string_val[0].decode()
print(json.dumps(out))`
	output, err := exec.Command(python, "-c", script, dir).Output()
	if err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	var got struct {
		Scalars map[string]float64
		Images  map[string][2]int
		Texts   map[string]string
	}
	if err := json.Unmarshal(output, &got); err != nil {
		t.Fatal(err)
	}
	scalars, texts, images := map[string]float64{}, map[string]string{}, 0
	for name, events := range oracle.BoardFiles(t, dir) {
		for _, ev := range events {
			for tag, v := range ev.Scalars {
				scalars[fmt.Sprint(name, ":", tag, ":", ev.Step)] = v
			}
			for tag, v := range ev.Texts {
				texts[fmt.Sprint(name, ":", tag, ":", ev.Step)] = v
			}
			images += len(ev.PNGs)
		}
	}
	if d := cmp.Diff(scalars, got.Scalars); d != "" || len(scalars) < 50 {
		t.Errorf("%d scalars (-ours +theirs)\n%s", len(scalars), d)
	}
	if d := cmp.Diff(texts, got.Texts); d != "" || len(texts) < 2 {
		t.Errorf("%d texts (-ours +theirs)\n%s", len(texts), d)
	}
	if len(got.Images) != images || images < 5 {
		t.Errorf("they see %d pictures of %d", len(got.Images), images)
	}
	for at, size := range got.Images {
		if size[0] < 8 || size[1] < 8 {
			t.Errorf("picture %s is %v", at, size)
		}
	}
}
