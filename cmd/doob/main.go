// Command doob fine-tunes diffusion models toward a reward and says how far the result is from the target.
package main

import (
	"context"
	"os"
)

func main() {
	os.Exit(Main(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}
