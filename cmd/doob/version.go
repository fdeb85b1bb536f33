package main

import (
	"fmt"

	"github.com/alecthomas/kong"

	"github.com/doob-diffusion/doob/experiment"
)

type versionFlag bool

// BeforeReset prints the version before anything else is parsed.
func (versionFlag) BeforeReset(app *kong.Kong) error {
	fmt.Fprintln(app.Stdout, "doob", experiment.Version())
	app.Exit(0)
	return nil
}
