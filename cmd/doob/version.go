package main

import (
	"fmt"

	"github.com/alecthomas/kong"

	"github.com/doob-diffusion/doob/internal/version"
)

type versionFlag bool

// BeforeReset prints the version before anything else is parsed.
func (versionFlag) BeforeReset(app *kong.Kong) error {
	fmt.Fprintln(app.Stdout, "doob", version.String())
	app.Exit(0)
	return nil
}
