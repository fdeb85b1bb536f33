package external

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/doob-diffusion/doob/checkpoint"
)

// Run as a scorer, the test binary is a program that scores samples by their sum, or that fails in a way.
func TestMain(m *testing.M) {
	if mode := os.Getenv("DOOB_TEST_SCORER"); mode != "" {
		os.Exit(score(mode))
	}
	os.Exit(m.Run())
}

// scorer returns settings of the test binary as a scorer. Modes that fail once do so before the file there exists.
func scorer(t *testing.T, mode string) Settings {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("DOOB_TEST_SCORER", mode)
	t.Setenv("DOOB_TEST_ONCE", t.TempDir()+"/once")
	return Settings{Command: []string{self}, Batch: 2, Timeout: 20 * time.Second}
}

// once reports whether it is called for the first time, by any process.
func once() bool {
	_, err := os.OpenFile(os.Getenv("DOOB_TEST_ONCE"), os.O_CREATE|os.O_EXCL, 0o666)
	return err == nil
}

func score(mode string) (code int) {
	switch mode {
	case "syntax":
		fmt.Fprintln(os.Stderr, "SyntaxError: invalid syntax")
		return 3
	case "greets":
		fmt.Println("Loading the model")
	}
	in := bufio.NewScanner(os.Stdin)
	for asked := 1; in.Scan(); asked++ {
		var request struct {
			File     string
			Offset   int64
			Shape    []int
			ID       int
			Metadata map[string]string
		}
		if err := json.Unmarshal(in.Bytes(), &request); err != nil {
			panic(err)
		}
		f, err := checkpoint.Load(request.File) // by a library for the format
		if err != nil {
			panic(err)
		}
		x := f.Tensors["x"]
		if fmt.Sprint(x.Shape) != fmt.Sprint(request.Shape) || fmt.Sprint(f.Metadata["prompt"]) != request.Metadata["prompt"] {
			panic(fmt.Sprint("the file and the line differ: ", x.Shape, f.Metadata, request))
		}
		answer := `{"rewards":[` + strings.Join(sums(x.F32, x.Shape[0], len(request.Metadata["prompt"])), ",") + `]}`
		switch {
		case mode == "dies" && asked == 2 && once():
			fmt.Fprintln(os.Stderr, "out of memory")
			return 7
		case mode == "always dies" && !once():
			fmt.Fprintln(os.Stderr, strings.Repeat("x", 10000)+"\nout of memory")
			return 7
		case mode == "dies in between" && asked == 2 && once():
			fmt.Print(answer[:5])
			return 7
		case mode == "hangs" && asked == 2 && once():
			fmt.Fprintln(os.Stderr, "thinking")
			time.Sleep(time.Hour)
		case mode == "hangs at once":
			child := exec.Command("sleep", "3600") // that holds the pipes
			child.Stdout, child.Stderr = os.Stdout, os.Stderr
			if err := child.Start(); err != nil {
				panic(err)
			}
			time.Sleep(time.Hour)
		case mode == "late" && asked == 2 && once():
			time.Sleep(2 * time.Second)
			answer = `{"rewards":[1000,1000]}` // which must not be taken for that to another request
		case mode == "half a line" && !once():
			fmt.Print(answer)
			time.Sleep(time.Hour)
		case mode == "floods":
			for {
				fmt.Print(strings.Repeat("x", 1000))
			}
		case mode == "answers twice":
			fmt.Print(answer + "\n" + answer + "\n")
			continue
		case mode == "id":
			answer = strings.TrimSuffix(answer, "}") + fmt.Sprintf(`,"id":%d}`, request.ID)
		case mode == "removes":
			os.Remove(request.File)
		}
		fmt.Println(answer)
	}
	if mode == "ends late" {
		time.Sleep(time.Hour)
	}
	return 0
}

// sums are those of samples, and a number more.
func sums(x []float32, n, more int) []string {
	out := make([]string, n)
	dim := len(x) / n
	for i := range out {
		sum := float64(more)
		for _, v := range x[i*dim : (i+1)*dim] {
			sum += float64(v)
		}
		out[i] = strconv.FormatFloat(sum, 'g', -1, 64)
	}
	return out
}

// Five samples, of which one has diverged, and their rewards.
var (
	five = []float32{1, 2, 0.5, 0.25, float32(math.NaN()), 1, -1, -2, 4, 0}
	want = []float64{3, 0.75, math.Inf(-1), -3, 4}
)
