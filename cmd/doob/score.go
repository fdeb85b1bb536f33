package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"

	"golang.org/x/term"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/progress"
	"github.com/doob-diffusion/doob/report"
	"github.com/doob-diffusion/doob/reward"
	"github.com/doob-diffusion/doob/vision"
)

type scoreCommand struct {
	Pictures []string `arg:"" help:"Pictures: PNG, JPEG, GIF or WebP. What is transparent is put on white."`
	Reward   string   `required:"" placeholder:"KIND:DIR" help:"imagereward:DIR, with ImageReward.safetensors or ImageReward.pt; or clip:DIR, the cosine of picture and prompt, and the diversity of the pictures."`
	Prompt   string   `required:"" help:"What the pictures shall show."`
	Vocab    string   `placeholder:"FILE" help:"The vocab.txt of bert-base-uncased, for ImageReward. Default: the one in DIR."`
	JSON     bool     `name:"json" help:"Print a JSON object a picture, a line each, and one for the diversity."`
	Backend  string   `default:"${backend}" help:"Tensor backend: ${backends}."`
}

// scorer says what a picture is worth, and what all of them together are once they have been seen.
type scorer struct {
	of        func(vision.RGB) (float64, error)
	diversity func() (diversity, se float64, ok bool)
}

func (c *scoreCommand) Run(ctx context.Context, t *terminal) error {
	// What cannot be read is told before gigabytes of weights are.
	var unreadable []error
	for _, path := range c.Pictures {
		if _, err := vision.Open(path); err != nil {
			unreadable = append(unreadable, err)
		}
	}
	if err := errors.Join(unreadable...); err != nil {
		return err
	}
	view := progress.New(t.err, progress.Options{})
	defer view.Close()
	s, warning, err := c.open()
	if err != nil {
		return err
	}
	if warning != "" {
		view.Log("doob: warning: " + warning)
	}
	scores := make([]float64, len(c.Pictures))
	for i, path := range c.Pictures {
		view.Update(progress.Update{Stage: "score", Done: i, Total: len(c.Pictures), Unit: "pictures"})
		if err := ctx.Err(); err != nil {
			return err
		}
		picture, err := vision.Open(path)
		if err != nil {
			return err
		}
		if scores[i], err = s.of(picture); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	view.Update(progress.Update{Stage: "score", Done: len(c.Pictures), Total: len(c.Pictures), Unit: "pictures"})
	view.Close()
	return c.write(t, scores, s)
}

// open loads the network, and returns what it makes of pictures for the prompt, and a warning if the prompt is too long.
func (c *scoreCommand) open() (s scorer, warning string, err error) {
	kind, dir, _ := strings.Cut(c.Reward, ":")
	if dir == "" || kind != "imagereward" && kind != "clip" {
		return s, "", fmt.Errorf("score: --reward is %q, want imagereward:DIR or clip:DIR", c.Reward)
	}
	e, err := engine.Open(c.Backend)
	if err != nil {
		return s, "", err
	}
	if kind == "imagereward" {
		network, err := reward.OpenImageReward(e, "/imagereward", dir, c.Vocab)
		if err != nil {
			return s, "", err
		}
		r, warning, err := network.For(c.Prompt, 1, 1) // of pictures of any size
		if err != nil {
			return s, "", err
		}
		return scorer{r.Of, func() (float64, float64, bool) { return 0, 0, false }}, warning, nil
	}
	network, err := reward.OpenCLIP(e, "/clip", dir)
	if err != nil {
		return s, "", err
	}
	text, warning, err := network.Text(c.Prompt)
	if err != nil {
		return s, "", err
	}
	var seen [][]float32
	return scorer{func(p vision.RGB) (float64, error) {
		embedding, err := network.Picture(p)
		if err != nil {
			return 0, err
		}
		seen = append(seen, embedding)
		return reward.Cosine(embedding, text), nil
	}, func() (float64, float64, bool) { return reward.Diversity(seen) }}, warning, nil
}

// write prints the scores: a table for people, tab-separated values for programs, in which the diversity, no picture's, goes to standard error.
func (c *scoreCommand) write(t *terminal, scores []float64, s scorer) error {
	diversity, se, several := s.diversity()
	if c.JSON {
		out := json.NewEncoder(t.out)
		for i, path := range c.Pictures {
			if err := out.Encode(map[string]any{"picture": path, "score": scores[i]}); err != nil {
				return err
			}
		}
		if !several {
			return nil
		}
		last := map[string]any{"diversity": diversity, "pictures": len(scores)}
		if !math.IsNaN(se) {
			last["diversity_se"] = se
		}
		return out.Encode(last)
	}
	said := number(diversity)
	if !math.IsNaN(se) {
		said += " ± " + number(se)
	}
	note := fmt.Sprintf("diversity %s: 1 − the mean cosine over all pairs of %d pictures", said, len(scores))
	table := report.Table{Columns: []report.Column{{Name: "picture"}, {Name: "score", Right: true}}}
	for i, path := range c.Pictures {
		table.Rows = append(table.Rows, []string{path, number(scores[i])})
	}
	if f, ok := t.out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		if several {
			table.Notes = []string{note}
		}
		return t.table(table)
	}
	for _, row := range table.Rows {
		if strings.ContainsAny(row[0], "\t\n\r") {
			row[0] = strconv.Quote(row[0])
		}
		if _, err := fmt.Fprintf(t.out, "%s\t%s\n", row[0], row[1]); err != nil {
			return err
		}
	}
	if several {
		fmt.Fprintln(t.err, note)
	}
	return nil
}

func number(v float64) string { return strconv.FormatFloat(v, 'f', 6, 64) }
