package external

import (
	"bufio"
	"cmp"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/doob-diffusion/doob/internal/oracle"
)

// bright are pictures [2, 2, 1], with ten times their mean.
func bright(t *testing.T, s Settings) {
	t.Helper()
	s.Batch = 2
	r, err := s.Open(t.Context(), []int{2, 2, 1})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := r.With(map[string]string{"prompt": `a "red" <rose>, "offset":7`}).Rewards(t.Context(), []float32{1, 1, 1, 1, -1, 0, 0.5, 0.125, 1e-9, 0, 0, 0}, 3)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []float64{10, -0.9375, 2.5e-9} {
		oracle.Near(t, "reward", got[i], want, 1e-7*(1e-2+want*want))
	}
}

func TestShellExample(t *testing.T) {
	for _, name := range []string{"sh", "od", "awk", "expr"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skip(err)
		}
	}
	bright(t, Settings{Command: []string{"sh", "../../docs/examples/score.sh"}})
}

// python is a Python with numpy.
func python(t *testing.T) string {
	t.Helper()
	name := cmp.Or(os.Getenv("DOOB_PYTHON"), "python3")
	if err := exec.Command(name, "-c", "import numpy").Run(); err != nil {
		t.Skipf("%s has no numpy: %v", name, err)
	}
	return name
}

func TestExampleInPython(t *testing.T) {
	bright(t, Settings{Command: []string{python(t), "../../docs/examples/score.py"}})
}

func TestServerExampleInPython(t *testing.T) {
	server := exec.Command(python(t), "../../docs/examples/serve.py", "0") // any port
	out, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer server.Wait()
	defer server.Process.Kill()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	words := strings.Fields(line)
	bright(t, Settings{HTTP: "http://localhost:" + words[len(words)-1]})
}
