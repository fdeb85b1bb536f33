// Command asmgen writes the assembly of package kern. It is a module of its own, so that the product does not depend on
// the assembler it uses.
//
//	go run . -kernels gemm -out gemm_amd64.s -stubs gemm_stub_amd64.go -pkg kern
package main

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	. "github.com/mmcloughlin/avo/build"
)

var sets = map[string]func(){}

func main() {
	names := slices.Sorted(maps.Keys(sets))
	kernels := flag.String("kernels", "", "which kernels to write: "+strings.Join(names, ", "))
	flag.Parse()
	generate, ok := sets[*kernels]
	if !ok {
		fmt.Fprintf(os.Stderr, "asmgen: no kernels named %q, there are %s\n", *kernels, strings.Join(names, ", "))
		os.Exit(2)
	}
	ConstraintExpr("amd64,!noasm")
	generate()
	Generate()
}
