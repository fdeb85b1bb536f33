package textimage

import (
	"fmt"
	"math"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/doob-diffusion/doob/internal/version"
	"github.com/doob-diffusion/doob/report"
	"github.com/doob-diffusion/doob/vision"
)

// verb is where the number of a picture goes in the name of a file.
var verb = regexp.MustCompile(`%0?[0-9]*d`)

// checkOut refuses, before any work, what could not be written after it.
func checkOut(out string, n int) error {
	dir, name := filepath.Split(out)
	if len(verb.FindAllString(name, -1)) > 1 || strings.Contains(verb.ReplaceAllString(name, ""), "%") || strings.Contains(dir, "%") && verb.MatchString(name) {
		return fmt.Errorf("output %q: want at most one %%d, or such as %%03d, for the number of a picture, in the name of the file, and no other %%", out)
	}
	return vision.CheckOutputs(nil, names(out, n)[0])
}

// names returns those of the files: one for each picture, from 1 on, or one for all.
func names(out string, n int) []string {
	dir, name := filepath.Split(out)
	if !verb.MatchString(name) {
		return []string{out}
	}
	var all []string
	for i := range n {
		all = append(all, filepath.Join(dir, fmt.Sprintf(name, i+1)))
	}
	return all
}

// write writes the pictures, with notes of how they were made.
func (d *drawing) write(pictures []vision.RGB) ([]string, error) {
	files := names(d.Out, d.N)
	if len(files) < len(pictures) {
		columns := int(math.Ceil(math.Sqrt(float64(len(pictures)))))
		return files, report.Photo(files[0], vision.Grid(pictures, columns).Image(), d.notes(0, d.N))
	}
	for i, p := range pictures {
		if err := report.Photo(files[i], p.Image(), d.notes(i, i+1)); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// notes are what it takes to draw pictures [from, to) again, for people and programs.
func (d *drawing) notes(from, to int) []report.Note {
	number := func(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
	settings := fmt.Sprintf("steps %d, eta %s, guidance %s, size %dx%d, model %s", d.Steps, number(d.Eta), number(d.Guidance), d.Width, d.Height, filepath.Base(filepath.Clean(d.Model)))
	for _, a := range d.Adapters {
		settings += fmt.Sprintf(", lora %s:%s", filepath.Base(a.Path), number(a.Scale))
	}
	which := strconv.Itoa(from + 1)
	if to > from+1 {
		which += "-" + strconv.Itoa(to)
	}
	notes := []report.Note{{Key: "prompt", Text: d.Prompt}, {Key: "seed", Text: fmt.Sprint(d.Seed)}, {Key: "picture", Text: which}, {Key: "settings", Text: settings},
		{Key: "Software", Text: "doob " + version.String()}}
	if d.Negative != "" {
		notes = append(notes, report.Note{Key: "negative prompt", Text: d.Negative})
	}
	return notes
}
