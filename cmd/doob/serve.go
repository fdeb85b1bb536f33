package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/doob-diffusion/doob/data"
	"github.com/doob-diffusion/doob/serve"
)

// serveCommand shows runs in a browser, and draws from what they have learned.
type serveCommand struct {
	Folders []string `arg:"" name:"dir" type:"existingdir" help:"Run folders, folders of Stable Diffusion, or folders with such in them; and LoRA files in these."`
	Listen  string   `default:"127.0.0.1:8080" placeholder:"ADDRESS" help:"Where to listen: 127.0.0.1:8080, which this machine only can reach. Others take a token."`
	Token   string   `env:"DOOB_TOKEN" placeholder:"TEXT" help:"Ask for this token; better set DOOB_TOKEN, which the list of processes does not show."`
	Memory  string   `placeholder:"SIZE" help:"What models may take together, such as 4GB; those that do not fit are loaded in turn. Default: what this machine has."`
	NoDraw  bool     `help:"Show only: draw nothing."`
	Backend string   `default:"${backend}" help:"Tensor backend: ${backends}."`
}

// Help says what there is.
func (c *serveCommand) Help() string {
	return "Samples are drawn from runs that are complete and from models, one request after the other, by forms or by /api (see /api/openapi.json). " +
		"Nothing in the folders is changed, and nothing outside them is given away. To draw from a run reads and starts what its config.yaml names. " +
		"/metrics is for Prometheus, /healthz says ok. What is sent is not encrypted: beyond a network that you trust, put a server with TLS in front."
}

// Run runs the command until it is interrupted.
func (c *serveCommand) Run(ctx context.Context, t *terminal) (err error) {
	memory, err := parseSize(c.Memory)
	if err != nil {
		return fmt.Errorf("serve: --memory %w", err)
	}
	s, err := serve.New(c.Folders, c.Token)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	at, err := s.Listen(c.Listen)
	if err != nil {
		return err
	}
	if !c.NoDraw { // nobody else has the address, and so the folder
		dir, err := data.Dir(filepath.Join("serve", strings.NewReplacer(":", "_", "[", "", "]", "").Replace(at.Addr().String())))
		if err == nil {
			err = s.Infer(serve.Inference{Dir: dir, Memory: memory, Backend: c.Backend})
		}
		if err != nil {
			return errors.Join(err, at.Close())
		}
	}
	fmt.Fprintf(t.out, "http://%s\n", at.Addr())
	return s.Serve(ctx, at)
}

// parseSize reads bytes such as 4GB; "" is 0.
func parseSize(text string) (bytes float64, err error) {
	number, unit := strings.TrimSpace(text), 1.0
	if number == "" {
		return 0, nil
	}
	for _, u := range []struct {
		name  string
		bytes float64
	}{{"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}} {
		if n, ok := strings.CutSuffix(number, u.name); ok {
			number, unit = strings.TrimSpace(n), u.bytes
			break
		}
	}
	bytes, err = strconv.ParseFloat(number, 64)
	if err != nil || !(bytes > 0) || bytes*unit > 1e15 {
		return 0, fmt.Errorf("is %q: want a size such as 800MB or 4GB", text)
	}
	return bytes * unit, nil
}
