package main

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

//go:embed templates
var templates embed.FS

// initCommand writes a configuration to begin with into the folder it is called in.
type initCommand struct {
	Kind string `arg:"" enum:"pictures,classifier,inverse,textimage" help:"pictures: a folder of them and a program that scores samples. classifier: a folder of pictures for each class. inverse: a measurement. textimage: Stable Diffusion."`
}

// Run writes the files, all or none of them.
func (c *initCommand) Run(t *terminal) error {
	config := c.Kind + ".yaml"
	files := []string{config}
	if c.Kind == "pictures" {
		files = append(files, "score.py")
	}
	for _, file := range files {
		if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("init: there is a %s here already: move it away, or go into another folder", file)
		}
	}
	for _, file := range files {
		text, err := templates.ReadFile("templates/" + file)
		if err != nil {
			panic(err) // it is embedded
		}
		if err := os.WriteFile(file, text, 0o666); err != nil {
			return fmt.Errorf("init: %w", err)
		}
	}
	_, err := fmt.Fprintf(t.out, "%s: say there what you have, then: doob tune %s --dry-run\n", strings.Join(files, " "), config)
	return err
}
