// Command train trains the networks of the small captioned world, which package smallworld describes, and says how good they are:
//
//	go run ./experiment/textimage/smallworld/train -o DIR
//
// What is in the folder already stays as it is; remove a file to have it trained again.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/experiment/textimage/smallworld"
)

func main() {
	out := flag.String("o", "", "folder that the networks are written to")
	seed := flag.Uint64("seed", 1, "of all randomness")
	share := flag.Float64("share", 1, "of the steps that are taken, for a look")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := train(ctx, *out, *seed, *share); err != nil {
		fmt.Fprintln(os.Stderr, "train:", err)
		os.Exit(1)
	}
}

func train(ctx context.Context, out string, seed uint64, share float64) error {
	if out == "" {
		return fmt.Errorf("no folder given: -o DIR")
	}
	e, err := engine.Open(engine.Default)
	if err != nil {
		return err
	}
	start := time.Now()
	err = smallworld.Train(ctx, e, smallworld.Training{Dir: out, Seed: seed, Share: share, Report: func(part string, done, total int, loss float64) {
		fmt.Fprintf(os.Stderr, "%s %s %d/%d loss %.4g\n", time.Since(start).Round(time.Second), part, done, total, loss)
	}})
	if err != nil {
		return err
	}
	q, err := smallworld.Measure(ctx, e.Fork(), out, 2048)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(q)
}
