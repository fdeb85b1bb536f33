package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/doob-diffusion/doob/internal/golden"
)

var update = flag.Bool("update", false, "write golden transcripts anew")

// TestMain makes the test binary a doob of its own: scripts and tests find it in PATH.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"doob": main, "doob-small-disk": smallDisk})
}

// TestScripts runs what users type. Each script gets tiny.yaml, tiny_mnist.yaml and tiny_superres.yaml, with which all methods take seconds, and
// a store of data and networks of its own; $GOLDEN has the tiny models.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("DOOB_DATA", filepath.Join(e.WorkDir, "store"))
			e.Setenv("GOLDEN", golden.Path(""))
			for _, name := range []string{"tiny.yaml", "tiny_mnist.yaml", "tiny_superres.yaml"} {
				text, err := os.ReadFile(filepath.Join("../../experiment/testdata", name))
				if err != nil {
					return err
				}
				if err := os.WriteFile(filepath.Join(e.WorkDir, name), text, 0o666); err != nil {
					return err
				}
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"transcript": transcript, "jsonlines": jsonlines, "lines": countLines, "prefix": prefix, "own-numbers": ownNumbers, "same-report": sameReport, "tree": listTree, "flowers": plantFlowers,
		},
	})
}

// unlike maps what differs between machines, or between two runs, to a name.
var unlike = []struct {
	pattern *regexp.Regexp
	name    string
}{
	{regexp.MustCompile(`[0-9.]+ (it/s|s/it)\b`), "RATE"},
	{regexp.MustCompile(`\bin [0-9.dhms]+$`), "in TIME"},
	{regexp.MustCompile(` ([0-9]+[dhms])+$`), " TIME"}, // of a plan
	{regexp.MustCompile(` [0-9]+$`), " S"},             // the last column of a table
	{regexp.MustCompile(`\b[0-9.]+ MB\b`), "# MB"},
}

var (
	measured = regexp.MustCompile(`\b(mode TV|SW2|log Ẑ|KL|ESS|acceptance|reward|loss) \S+`)
	decimal  = regexp.MustCompile(`[0-9]+\.[0-9]+`)
)

// transcript FILE writes what the last command has printed, standard error first, without times and without the digits
// of measured numbers. Counts and columns stay.
func transcript(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: transcript FILE")
	}
	var out strings.Builder
	for _, name := range []string{"stderr", "stdout"} {
		out.WriteString("==== " + name + "\n")
		for line := range strings.SplitSeq(strings.TrimSuffix(ts.ReadFile(name), "\n"), "\n") {
			if strings.Contains(line, "  ETA ") {
				continue // a line after five seconds: the machine is slow
			}
			if name == "stderr" {
				line = measured.ReplaceAllString(line, "$1 #")
			}
			for _, u := range unlike {
				line = u.pattern.ReplaceAllString(line, u.name)
			}
			line = decimal.ReplaceAllStringFunc(line, func(number string) string {
				return strings.Map(func(r rune) rune {
					if r == '.' {
						return r
					}
					return '#'
				}, number)
			})
			out.WriteString(line + "\n")
		}
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(out.String()), 0o666))
}

// jsonlines FILE checks that every line is a JSON object: the first one the configuration, the last one the report, all others events.
func jsonlines(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: jsonlines FILE")
	}
	text := ts.ReadFile(args[0])
	if !strings.HasSuffix(text, "\n") {
		ts.Fatalf("%s does not end with a newline", args[0])
	}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i, line := range lines {
		var object map[string]any
		if err := json.Unmarshal([]byte(line), &object); err != nil {
			ts.Fatalf("line %d: %v: %s", i+1, err, line)
		}
		_, isReport := object["methods"]
		_, isEvent := object["stage"]
		if _, isConfig := object["config"]; isConfig != (i == 0) {
			ts.Fatalf("line %d of %d: configuration %v", i+1, len(lines), isConfig)
		} else if isConfig {
			continue
		}
		if last := i == len(lines)-1; isReport != last || isEvent == last {
			ts.Fatalf("line %d of %d: event %v, report %v", i+1, len(lines), isEvent, isReport)
		}
	}
}

// lines N FILE checks the number of lines.
func countLines(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: lines N FILE")
	}
	var want, got int
	ts.Check(json.Unmarshal([]byte(args[0]), &want))
	if got = strings.Count(ts.ReadFile(args[1]), "\n"); got != want {
		ts.Fatalf("%s has %d lines, want %d", args[1], got, want)
	}
}

// prefix A B checks that B begins with all of A.
func prefix(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: prefix A B")
	}
	if strings.HasPrefix(ts.ReadFile(args[1]), ts.ReadFile(args[0])) == neg {
		ts.Fatalf("%s is a prefix of %s: %v", args[0], args[1], neg)
	}
}

// tree DIR FILE writes the names of all files below DIR to FILE.
func listTree(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: tree DIR FILE")
	}
	var out bytes.Buffer
	root := ts.MkAbs(args[0])
	ts.Check(filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		name, err := filepath.Rel(root, path)
		out.WriteString(filepath.ToSlash(name) + "\n")
		return err
	}))
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), out.Bytes(), 0o666))
}

// same-report A B checks that two runs have the same report, but for times.
func sameReport(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: same-report A B")
	}
	a, err := timeless(filepath.Join(ts.MkAbs(args[0]), "report.json"))
	ts.Check(err)
	b, err := timeless(filepath.Join(ts.MkAbs(args[1]), "report.json"))
	ts.Check(err)
	if d := cmp.Diff(a, b); d != "" {
		ts.Fatalf("report.json (-%s +%s):\n%s", args[0], args[1], d)
	}
}

// timeless is a JSON file without numbers of seconds.
func timeless(file string) (tree any, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for key, inner := range v {
				if strings.HasSuffix(key, "seconds") || key == "peak_memory" {
					delete(v, key)
				} else {
					walk(inner)
				}
			}
		case []any:
			for _, inner := range v {
				walk(inner)
			}
		}
	}
	err = json.Unmarshal(text, &tree)
	walk(tree)
	return tree, err
}

// own-numbers A B checks that the methods of a report A have the numbers of those of B, besides what is null.
func ownNumbers(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: own-numbers A B")
	}
	var a, b struct{ Methods map[string]map[string]any }
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &a))
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[1])), &b))
	compared := 0
	var compare func(path string, a, b any)
	compare = func(path string, a, b any) {
		switch v := a.(type) {
		case map[string]any:
			for key, inner := range v {
				other, _ := b.(map[string]any)
				compare(path+"."+key, inner, other[key])
			}
		case float64:
			if compared++; a != b {
				ts.Fatalf("%s is %v and %v", path, a, b)
			}
		}
	}
	for name, numbers := range a.Methods {
		for key, v := range numbers {
			compare(name+"."+key, v, b.Methods[name][key])
		}
	}
	if compared == 0 {
		ts.Fatalf("%s has no numbers", args[0])
	}
}
