package kern

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	function = regexp.MustCompile(`^TEXT ·(\w+)`)
	wideOnly = regexp.MustCompile(`\b(Z\d+|K[0-7]|[XY](1[6-9]|2\d|3[01]))\b`)
	ofAVX2   = regexp.MustCompile(`^V((ADD|SUB|MUL|DIV|MAX|MIN|SQRT|AND|OR|XOR|CMP|BLENDV|ROUND|PERMIL|UNPCKL|UNPCKH|FN?M(ADD|SUB)\d+|MASKMOV|MOVU|MOVA|MOVMSK)P[SD]|MOVSS|ZEROUPPER|BROADCASTSS|P(SLL|SRA|ADD|SUB)D|PXOR|PMOVZXWD|CVTPS2DQ|CVTDQ2PS|PERM2F128|EXTRACTF128)$`)
)

// A machine with AVX-512 would run a function for AVX2 that needs more than that; only a reader of the text notices. The
// list of instructions is of those in use: add to it what AVX2 or FMA has. F16C, which is asked for by itself, is in one function.
func TestAVX2NeedsNoMore(t *testing.T) {
	files, err := filepath.Glob("*_amd64.s")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files of assembly: %v", len(files), err)
	}
	checked := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := ""
		for i, line := range strings.Split(string(text), "\n") {
			if match := function.FindStringSubmatch(line); match != nil {
				name = match[1]
			}
			if !strings.Contains(name, "AVX2") || !strings.HasPrefix(line, "\t") {
				continue
			}
			checked++
			instruction := strings.Fields(line)[0]
			if instruction == "VCVTPH2PS" && name == "widenFloat16AVX2" && !wideOnly.MatchString(line) {
				continue
			}
			if wideOnly.MatchString(line) || strings.HasPrefix(instruction, "V") && !ofAVX2.MatchString(instruction) {
				t.Errorf("%s:%d: %s has %q, which is not known to be in AVX2 or FMA", file, i+1, name, strings.TrimSpace(line))
			}
		}
	}
	if checked == 0 {
		t.Errorf("no function for AVX2 in %v", files)
	}
}
