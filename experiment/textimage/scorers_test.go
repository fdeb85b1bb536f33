package textimage

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/internal/oracle"
)

// score answers with ten times the mean of the red of every picture, and with its negative for a text about dogs. When its input ends, it leaves the texts
// that pictures were for.
func score(left string) {
	prompts := map[string]bool{}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var batch struct {
			File     string
			Shape    []int
			Metadata struct{ Prompt string }
		}
		if err := json.Unmarshal(lines.Bytes(), &batch); err != nil {
			panic(err)
		}
		f, err := checkpoint.Load(batch.File)
		if err != nil {
			panic(err)
		}
		prompts[batch.Metadata.Prompt] = true
		answer := map[string][]float64{}
		x := f.Tensors["x"].F32
		for picture := range slices.Chunk(x, len(x)/batch.Shape[0]) {
			var red float64
			for i := 0; i < len(picture); i += 3 {
				red += float64(picture[i]) * 30 / float64(len(picture))
			}
			if strings.Contains(batch.Metadata.Prompt, "dogs") {
				red = -red
			}
			answer["rewards"] = append(answer["rewards"], red)
		}
		text, _ := json.Marshal(answer)
		fmt.Println(string(text))
	}
	text, _ := json.Marshal(prompts)
	os.WriteFile(left, text, 0o666)
}

// Programs score pictures for the text of each task: what is trained on is their weighted sum, what stands under evaluate is measured by the same code,
// a method that wants a gradient is refused, and a program that has changed too.
func TestScorers(t *testing.T) {
	left := filepath.Join(t.TempDir(), "left")
	t.Setenv("DOOB_TEST_SCORER", left)
	script := filepath.Join(t.TempDir(), "score")
	if err := os.Symlink(os.Args[0], script); err != nil {
		t.Skip(err)
	}
	rewards := fmt.Sprintf("rewards=[{command: [%q], name: red, weight: 2}]", script)
	p := problem(t, rewards, fmt.Sprintf("evaluate=[{command: [%q]}]", script), "methods=[base, best_of_k, importance]", "scale=0.5")
	folder, rep := run(t, p)
	red := map[string]float64{}
	for _, task := range p.Tasks() {
		for _, name := range p.Methods {
			r := rep.Tasks[task][name]
			oracle.Near(t, name+": reward", r["reward"].Value, 2*r["reward_red"].Value, 1e-9)
			oracle.Near(t, name+": held out", r["held_out_command"].Value, r["reward_red"].Value, 1e-9)
			if !(r["reward_red"].SE > 0) {
				t.Errorf("%s, %s: red is %v", task, name, r["reward_red"])
			}
		}
		red[task] = rep.Tasks[task]["base"]["reward_red"].Value
		if best, base := rep.Tasks[task]["best_of_k"]["reward"].Value, rep.Tasks[task]["base"]["reward"].Value; !(best > base) {
			t.Errorf("%s: the best of several have the reward %g, all %g", task, best, base)
		}
	}
	if dogs, rabbit := red["two_dogs_in_the_park"], red["a_green_colored_rabbit"]; !(dogs*rabbit < 0) { // of pictures that are alike in red, the text decides about the sign
		t.Errorf("pictures of dogs have %g, and of a rabbit %g: the scorers were not told the text", dogs, rabbit)
	}
	if text := oracle.Read(t, left); text != `{"A green colored rabbit.":true,"Two dogs in the park.":true}` {
		t.Errorf("the scorers were told of %s", text)
	}
	for _, c := range []struct {
		sets []string
		want []string
	}{
		{[]string{rewards, "methods=[base, adjoint_matching]"}, []string{"adjoint_matching", "a reward with a gradient"}},
		{[]string{"rewards=[{command: [a], http: b}]"}, []string{"rewards[0].command", "exactly one of them"}},
		{[]string{"rewards=[{command: [a], weight: 0}]"}, []string{"rewards[0].weight is 0", "evaluate"}},
		{[]string{"evaluate=[{command: [a], weight: 2}]"}, []string{"evaluate[0] has a weight"}},
	} {
		_, err := experiment.New("textimage", "quick", "", slices.Concat(tiny, c.sets))
		oracle.WantError(t, err, c.want...)
	}
	if _, err := problem(t, "rewards=[{command: [no-such-program]}]").Load(); err == nil || !strings.Contains(err.Error(), "rewards[0]: ") {
		t.Errorf("a program that there is not: %v", err)
	}
	if err := os.Remove(script); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"), 0o777); err != nil {
		t.Fatal(err)
	}
	_, err := experiment.Resume(t.Context(), folder, []string{"importance.iterations=3"}, func(experiment.Event) {})
	oracle.WantError(t, err, "other data")
}
