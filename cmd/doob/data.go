package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/doob-diffusion/doob/data"
	"github.com/doob-diffusion/doob/progress"
	"github.com/doob-diffusion/doob/report"
)

type dataCommand struct {
	List  dataListCommand  `cmd:"" help:"Say which data sets there are, and which of them are here."`
	Get   dataGetCommand   `cmd:"" help:"Fetch a data set, by a download or from a folder, or a model."`
	Check dataCheckCommand `cmd:"" help:"Read the files of a data set and check that they are the published ones."`
}

type dataListCommand struct{}

func (c *dataListCommand) Run(t *terminal) error {
	table := report.Table{Columns: []report.Column{{Name: "name"}, {Name: "size", Right: true}, {Name: "state"}, {Name: "what"}, {Name: "folder"}}}
	for _, s := range data.Sets() {
		dir, err := data.Dir(s.Name)
		if err != nil {
			return err
		}
		state := "complete"
		if err := s.Check(dir); errors.Is(err, data.ErrMissing) {
			state = "not here"
		} else if err != nil {
			state = "damaged"
			table.Notes = append(table.Notes, err.Error())
		}
		table.Rows = append(table.Rows, []string{s.Name, fmt.Sprintf("%.1f MB", float64(s.Bytes)/1e6), state, s.About, dir})
	}
	table.Rows = append(table.Rows, []string{"digits", "", "built in", "digits drawn from outline fonts, 28×28 grey, as many as wanted", ""})
	return t.table(table)
}

type dataGetCommand struct {
	Name    string   `arg:"" help:"Data set, see doob data list; or hf:OWNER/NAME[@REVISION], a model of huggingface.co or $$HF_ENDPOINT, into the cache of Python's library."`
	Variant string   `help:"Of a model: weights of this variant, such as fp16, where there are some."`
	File    []string `placeholder:"PATTERN" help:"Of a model: these files, such as vocab.txt, in place of those that this program reads."`
	From    string   `placeholder:"DIR" help:"Copy the files in this folder. Default: download them."`
	To      string   `placeholder:"DIR" help:"Folder for the files. Default: NAME in $$DOOB_DATA, or in doob among the user's caches."`
}

func (c *dataGetCommand) Run(ctx context.Context, t *terminal) error {
	if name, ok := strings.CutPrefix(c.Name, "hf:"); ok {
		return c.model(ctx, t, name)
	}
	if c.Variant != "" || len(c.File) > 0 {
		return fmt.Errorf("data get: --variant and --file are for models, hf:OWNER/NAME, and %s is none", c.Name)
	}
	set, dir, err := findSet(c.Name, c.To)
	if err != nil {
		return err
	}
	view, observe := watchFetch(t)
	if c.From != "" {
		err = set.Copy(ctx, c.From, dir, observe)
	} else {
		err = set.Download(ctx, dir, observe)
		if err != nil && ctx.Err() == nil {
			err = fmt.Errorf("%w\nWith a copy of the files: doob data get %s --from DIR", err, set.Name)
		}
	}
	view.Close()
	if errors.Is(err, context.Canceled) {
		return interruption{err, "the same command continues where this one ended"}
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(t.out, "%s is complete in %s\n", set.Name, dir)
	return err
}

// model fetches files of a model.
func (c *dataGetCommand) model(ctx context.Context, t *terminal, name string) error {
	if c.From != "" || c.To != "" {
		return errors.New("data get: a model is kept in the cache of Python's library, HF_HUB_CACHE names another one; --from and --to are for data sets")
	}
	repository, err := data.ParseRepository(name)
	if err != nil {
		return err
	}
	hub, err := data.HubHere()
	if err != nil {
		return err
	}
	view, observe := watchFetch(t)
	dir, err := hub.Get(ctx, repository, data.Want{Variant: c.Variant, Files: c.File}, observe)
	view.Close()
	if errors.Is(err, context.Canceled) {
		return interruption{err, "the same command continues where this one ended"}
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(t.out, dir)
	return err
}

// watchFetch shows how far files are.
func watchFetch(t *terminal) (progress.Display, func(data.Progress)) {
	view := progress.New(t.err, progress.Options{})
	return view, func(p data.Progress) {
		const unit = 1000
		view.Update(progress.Update{Stage: p.File, Done: int(p.Done / unit), Total: int(p.Total / unit), Unit: "kB"})
	}
}

type dataCheckCommand struct {
	Name string `arg:"" help:"Data set, see doob data list."`
	From string `placeholder:"DIR" help:"Folder with the files. Default: where doob data get puts them."`
}

func (c *dataCheckCommand) Run(t *terminal) error {
	set, dir, err := findSet(c.Name, c.From)
	if err != nil {
		return err
	}
	if err := set.Check(dir); errors.Is(err, data.ErrMissing) {
		return fmt.Errorf("%w; doob data get %s fetches them", err, set.Name)
	} else if err != nil {
		return err
	}
	_, err = fmt.Fprintf(t.out, "%s is complete in %s\n", set.Name, dir)
	return err
}

// findSet returns a data set, and its folder: the one given, or else the one in the store.
func findSet(name, folder string) (set data.Set, dir string, err error) {
	if set, err = data.Find(name); err != nil {
		return set, "", err
	}
	if folder != "" {
		return set, folder, nil
	}
	dir, err = data.Dir(name)
	return set, dir, err
}
