package experiment

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/doob-diffusion/doob/method"
)

// Choices are what [Sample] can be asked of a run that is complete.
type Choices struct {
	Methods []Choice // that which [Draw] takes by itself first
	Tasks   []Choice // the default first; none if there is a single one without a name
	// Numbered says that there are conditions, such as measurements, in place of tasks: Draw.Task is a number from 0.
	Numbered bool
	Steps    int // of the run
}

// Choice is a value and what it is called for people.
type Choice struct {
	Name  string `json:"name"`
	Title string `json:"title"`
}

// Problem returns the problem of a run as its configuration says, without data and networks.
func (l Looked) Problem() (Problem, error) {
	text, err := l.Config()
	if err != nil {
		return nil, err
	}
	p, err := parseConfig([]byte(text), "config.yaml", nil)
	if err != nil {
		return nil, err
	}
	return p, validate(p)
}

// Choices returns what can be asked of a run that is complete.
func (l Looked) Choices() (Choices, error) {
	p, err := l.Problem()
	if err != nil {
		return Choices{}, err
	}
	rep, err := l.Report()
	if err != nil {
		return Choices{}, err
	}
	c := Choices{Numbered: p.Offers()&method.Unconditional == 0, Steps: p.common().Process.Steps}
	names := []string{importance, "base"}
	for _, name := range rep.Order {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, name := range names {
		if name == "base" || slices.Contains(rep.Order, name) {
			c.Methods = append(c.Methods, Choice{name, p.common().title(name)})
		}
	}
	for _, task := range p.Tasks() {
		if task == "" {
			continue
		}
		title := task
		if name, own := p.GroupOf(task); name == task { // a group of its own
			title = own
		}
		c.Tasks = append(c.Tasks, Choice{task, title})
	}
	return c, nil
}

// Reader is a problem that reads weights besides those of its run folder.
type Reader interface {
	// Reads returns the files and folders where these weights are.
	Reads() ([]string, error)
}

// Weights returns about how many bytes of weights [OpenRun] reads: the sizes of their files.
func Weights(folder string) (bytes float64, err error) {
	p, _, err := readConfig(folder, nil)
	if err != nil {
		return 0, err
	}
	places := []string{filepath.Join(folder, "checkpoint")}
	if r, ok := p.(Reader); ok {
		others, err := r.Reads()
		if err != nil {
			return 0, err
		}
		places = append(places, others...)
	}
	for _, place := range places {
		err := filepath.WalkDir(place, func(file string, d fs.DirEntry, err error) error {
			state := strings.HasSuffix(file, stateEnding+".safetensors") // which is for resuming only
			if err != nil || d.IsDir() || state || !slices.Contains([]string{".safetensors", ".bin", ".pt"}, path.Ext(file)) {
				return err
			}
			info, err := os.Stat(file) // of what a link leads to: hubs keep weights so
			if err == nil {
				bytes += float64(info.Size())
			}
			return err
		})
		if err != nil {
			return 0, fmt.Errorf("%w %s: %w", ErrFolder, folder, err)
		}
	}
	return bytes, nil
}
