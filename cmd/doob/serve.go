package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/doob-diffusion/doob/serve"
)

// serveCommand shows runs in a browser.
type serveCommand struct {
	Folders []string `arg:"" name:"dir" type:"existingdir" help:"Run folders, or folders with run folders in them."`
	Listen  string   `default:"127.0.0.1:8080" placeholder:"ADDRESS" help:"Where to listen: 127.0.0.1:8080, which this machine only can reach. Others take a token."`
	Token   string   `env:"DOOB_TOKEN" placeholder:"TEXT" help:"Ask for this token; better set DOOB_TOKEN, which the list of processes does not show."`
}

// Help says what there is.
func (c *serveCommand) Help() string {
	return "Nothing in the folders is changed, and nothing outside them is read. /metrics is for Prometheus, /healthz says ok. " +
		"What is sent is not encrypted: beyond a network that you trust, put a server with TLS in front."
}

// Run runs the command until it is interrupted.
func (c *serveCommand) Run(ctx context.Context, t *terminal) (err error) {
	s, err := serve.New(c.Folders, c.Token)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	at, err := s.Listen(c.Listen)
	if err != nil {
		return err
	}
	fmt.Fprintf(t.out, "http://%s\n", at.Addr())
	return s.Serve(ctx, at)
}
