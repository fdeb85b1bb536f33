package experiment_test

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"hash"
	"image"
	"image/draw"
	"image/png"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/doob-diffusion/doob/checkpoint"
)

var update = flag.Bool("update", false, "write testdata/golden.json anew")

// What every experiment leaves, to the last bit: parameters, samples, numbers. Portable kernels give the same on every amd64 machine. A
// change of the order of additions changes all of it: then see that the numbers are as good, and say -update.
func TestGolden(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("floating point is fused on " + runtime.GOARCH)
	}
	cheap := []string{"tasks=[even]", "drawn=50", "pool=12", "samples=4", "importance={iterations: 2, paths: 8, batch: 4, updates: 1}", "batch=8",
		"methods=[base, guidance, best_of_k, resampled, smc_twisted, importance, importance_amplified, importance_rejection, importance_smc]",
		"guidance.paths=4", "importance_amplified.paths=4", "classifier={steps: 5, batch: 8}", "process.steps=3", "previews=0"}
	flowerless := []string{"drawn=50", "measurements=2", "samples=3", "process.steps=3", "dps.paths=4", "held=1", "previews=0", "classifier.batch=8", "pretrain.batch=8"}
	got := map[string]map[string]any{}
	for name, c := range map[string]struct {
		kind string
		sets []string
	}{
		"toy": {"toy", nil}, "mnist": {"mnist", cheap}, "superres": {"superres", flowerless},
		"gaussian": {"superres", []string{"data=gaussian", "gaussian={side: 4, length: 1, sd: 0.5}", "h={tuned: false, patch: 1}"}},
	} {
		d := run(t, tiny(t, c.kind, append(c.sets, "seeds=2")...), "cpu:generic")
		got[name] = map[string]any{}
		for file, content := range outcome(t, d.folder) {
			switch content := content.(type) {
			case map[string]checkpoint.Tensor:
				got[name][file] = sumTensors(content)
			case string:
				if strings.HasPrefix(file, "samples/") {
					got[name][file] = sumPicture(t, content)
				}
			default:
				got[name][file] = content
			}
		}
		t.Logf("%s: %d files, %.1f s", name, len(got[name]), d.report.Seconds)
	}
	const golden = "testdata/golden.json"
	if *update {
		text, err := json.MarshalIndent(got, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		write(t, golden, string(text)+"\n")
	}
	want := readJSON(t, golden)
	for name, files := range got {
		if d := cmp.Diff(want[name], any(files)); d != "" {
			t.Errorf("%s (-want +got)\n%s", name, d)
		}
	}
}

func sumTensors(tensors map[string]checkpoint.Tensor) string {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(tensors)) {
		v := tensors[name]
		fmt.Fprintln(h, name, v.Shape)
		for _, x := range []any{v.F32, v.F64, v.I64} {
			if err := binary.Write(h, binary.LittleEndian, x); err != nil {
				panic(err) // slices of numbers
			}
		}
	}
	return sum(h)
}

// sumPicture is of the pixels: files depend on the version of Go's compression.
func sumPicture(t *testing.T, file string) string {
	t.Helper()
	picture, err := png.Decode(strings.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	pixels := image.NewNRGBA(picture.Bounds())
	draw.Draw(pixels, pixels.Bounds(), picture, pixels.Bounds().Min, draw.Src)
	h := sha256.New()
	h.Write(pixels.Pix)
	return sum(h)
}

func sum(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }
