package main

import (
	"context"
	"fmt"

	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/fleet"
	"github.com/doob-diffusion/doob/internal/runfolder"
)

// reach says how to reach the server that a run and its workers share.
type reach struct {
	TokenFile string `placeholder:"FILE" help:"File with the token of the server for workers."`
	TLSCA     string `name:"tls-ca" placeholder:"FILE" help:"Certificates to trust, of a server at tls://. Default: the system's."`
}

func (r reach) at(url string) (fleet.Options, error) {
	token, err := fleet.ReadToken(r.TokenFile)
	return fleet.Options{URL: url, Token: token, CA: r.TLSCA}, err
}

// workerCommand simulates for runs of others.
type workerCommand struct {
	URL     string `arg:"" name:"url" help:"Server of the run, such as nats://HOST:4222."`
	Backend string `placeholder:"NAME" default:"${backend}" help:"Tensor backend: ${backends}. It must compute as that of the run. Default: ${backend}."`
	From    string `placeholder:"DIR" help:"Folder with the files of the data set, for problems that cannot be simulated without."`
	reach
}

// Help says what it takes.
func (c *workerCommand) Help() string {
	return "It needs the same doob as the run, and a machine with the same instructions: else its last digits would differ, and it is refused. " +
		"Workers may come, go and be killed at any time. When a run ends they wait for the next one."
}

// Run runs the command until it is interrupted.
func (c *workerCommand) Run(ctx context.Context, t *terminal) error {
	at, err := c.at(c.URL)
	if err != nil {
		return err
	}
	return experiment.Work(ctx, at, c.Backend, c.From, func(format string, args ...any) { fmt.Fprintf(t.err, "doob: "+format+"\n", args...) })
}

// workerFlags are those of a run.
type workerFlags struct {
	Workers      string `placeholder:"URL" xor:"workers" help:"Share the simulations with workers, at a NATS server with JetStream: nats://HOST:4222. What comes of the run is the same. Where nobody shall wait for the other, --set importance.staleness=1, which changes it."`
	ServeWorkers string `placeholder:"ADDRESS" xor:"workers" help:"The same with a server of its own: :4222, which this machine only can reach, or HOST:4222, which takes a token."`
	TLSCert      string `name:"tls-cert" placeholder:"FILE" help:"Certificate of the server for workers."`
	TLSKey       string `name:"tls-key" placeholder:"FILE" help:"Its key."`
	reach
}

// options are those of a run with workers, if it has any. Its server runs until stop is called.
func (f *workerFlags) options(t *terminal) (options []experiment.Option, stop func(), err error) {
	stop = func() {}
	at, err := f.at(f.Workers)
	if err != nil || f.Workers == "" && f.ServeWorkers == "" {
		return nil, stop, err
	}
	if f.ServeWorkers != "" {
		dir, remove, err := runfolder.Temporary("doob-workers-")
		if err != nil {
			return nil, stop, err
		}
		s, err := fleet.Listen(fleet.ServerOptions{Address: f.ServeWorkers, Folder: dir, Token: at.Token, Cert: f.TLSCert, Key: f.TLSKey})
		if err != nil {
			remove()
			return nil, stop, err
		}
		stop, at = func() { s.Close(); remove() }, s.Options()
		how := at.URL
		if f.TokenFile != "" {
			how += " --token-file FILE"
		}
		if f.TLSCert != "" {
			how += " --tls-ca FILE"
		}
		fmt.Fprintf(t.err, "doob: on other terminals, doob worker %s helps, doob status %s looks\n", how, how)
	}
	return []experiment.Option{experiment.WithWorkers(at)}, stop, nil
}
