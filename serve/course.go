package serve

import (
	"fmt"
	"math"
	"strconv"
	"sync"

	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/fleet"
)

// course is what the events of one run say over time. It is read once and then goes on where it was.
type course struct {
	run      string
	mutex    sync.Mutex
	events   *experiment.Follower
	series   []*series
	previews []preview
	again    int    // how often what was told before has ceased to count
	seed     uint64 // the first
	now      string // what is being done
	done     int    // of total steps of that
	total    int
	warnings []string
	err      error
}

// series are the numbers of one stage, of one kind.
type series struct {
	Name   string   `json:"name"` // of the stage, for people
	Kind   string   `json:"kind"` // iteration, held or training
	Steps  []int    `json:"steps"`
	Values []column `json:"values"`
}

// column is one number at every step.
type column struct {
	Name   string  `json:"name"`
	Values numbers `json:"values"`
}

// preview is a picture of what was learned after some iterations.
type preview struct {
	Name string `json:"name"`
	Step int    `json:"step"`
	URL  string `json:"url"`
}

// numbers are shown in charts: six digits do, and what is not finite is null.
type numbers []float64

// MarshalJSON implements json.Marshaler, for all at once, since a page may ask for a million.
func (all numbers) MarshalJSON() ([]byte, error) {
	text := append(make([]byte, 0, 2+10*len(all)), '[')
	for i, v := range all {
		if i > 0 {
			text = append(text, ',')
		}
		if math.IsNaN(v) || math.IsInf(v, 0) {
			text = append(text, "null"...)
		} else {
			text = strconv.AppendFloat(text, v, 'g', 6, 64)
		}
	}
	return append(text, ']'), nil
}

// read takes in what has come.
func (c *course) read() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	for c.err == nil {
		events, again, err := c.events.Next()
		if again {
			c.again++
			c.series, c.previews, c.now, c.warnings = nil, nil, "", nil
		}
		for _, ev := range events {
			c.add(ev)
		}
		if c.err = err; len(events) == 0 {
			return
		}
	}
}

func (c *course) add(ev experiment.Event) {
	if ev.Warning != "" {
		c.warnings = append(c.warnings, ev.Warning)
	}
	if ev.Stage == "" {
		return
	}
	if c.now == "" {
		c.seed = ev.Seed
	}
	c.now, c.done, c.total = c.title(ev), ev.Done, ev.Total
	if ev.Picture != "" {
		sets, _ := experiment.PreviewsOf([]experiment.File{{Name: ev.Picture}})
		for _, set := range sets {
			c.previews = append(c.previews, preview{set.Name, set.Steps[0], fileURL(c.run, ev.Picture)})
		}
	}
	if ev.Loss != nil {
		c.point(ev, "training", []string{"loss"}, float64(*ev.Loss))
	}
	if it := ev.Iteration; it != nil {
		c.point(ev, "iteration", iterationNames, append(certified(it.Certificate), it.Acceptance, it.Loss, it.Seconds)...)
	}
	if ev.Held != nil {
		c.point(ev, "held", certifiedNames, certified(*ev.Held)...)
	}
}

// The numbers of charts, by their names in events.jsonl.
var (
	certifiedNames = []string{"reward", "ess_fraction", "kl", "kl_se", "log_z", "log_z_se", "l_sc", "l_sc_se"}
	iterationNames = append(append([]string{}, certifiedNames...), "acceptance", "loss", "seconds")
)

func certified(c finetune.Certificate) []float64 {
	return []float64{float64(c.Reward), float64(c.ESS), float64(c.KL), float64(c.KLSE), float64(c.LogZ), float64(c.LogZSE), float64(c.LSC), float64(c.LSCSE)}
}

// point adds numbers at a step. A step that is done again takes the place of itself and of those after it.
func (c *course) point(ev experiment.Event, kind string, names []string, values ...float64) {
	name := c.title(ev)
	s := c.find(name, kind)
	if s == nil {
		s = &series{Name: name, Kind: kind}
		for _, n := range names {
			s.Values = append(s.Values, column{Name: n})
		}
		c.series = append(c.series, s)
	}
	n := len(s.Steps)
	for n > 0 && s.Steps[n-1] >= ev.Done {
		n--
	}
	if n < len(s.Steps) {
		c.again++
		s.Steps = s.Steps[:n:n] // by appending to a copy, what was handed out stays as it is
		for i := range s.Values {
			s.Values[i].Values = s.Values[i].Values[:n:n]
		}
	}
	s.Steps = append(s.Steps, ev.Done)
	for i, v := range values {
		s.Values[i].Values = append(s.Values[i].Values, v)
	}
}

// title names a stage as [experiment.Event.Title] does while it runs.
func (c *course) title(ev experiment.Event) string {
	if ev.Seed != c.seed {
		return fmt.Sprint(ev.Title(), " · seed ", ev.Seed)
	}
	return ev.Title()
}

func (c *course) find(name, kind string) *series {
	for _, s := range c.series {
		if s.Name == name && s.Kind == kind {
			return s
		}
	}
	return nil
}

// seen is how much of a course a reader has.
type seen struct {
	again int
	steps []int // of every series

	previews int
}

// news is what a reader does not have yet.
type news struct {
	Run      string   `json:"run"`
	State    string   `json:"state"`
	Now      string   `json:"now"`
	Done     int      `json:"done"`
	Total    int      `json:"total"`
	Again    bool     `json:"again,omitempty"` // what it has no longer counts
	Warnings []string `json:"warnings,omitempty"`
	Error    string   `json:"error,omitempty"`
	Series   []series `json:"series"`

	Previews []preview            `json:"previews,omitempty"`
	Workers  []fleet.WorkerStatus `json:"workers,omitempty"` // of a run that works with some
}

// since returns it, and notes that it was told.
func (c *course) since(r run, s *seen) news {
	c.read()
	c.mutex.Lock()
	defer c.mutex.Unlock()
	out := news{Run: r.name, State: r.State(), Now: c.now, Done: c.done, Total: c.total, Warnings: c.warnings, Series: []series{}}
	if status, ok := r.Workers(); ok {
		out.Workers = status.Workers
	}
	if c.err != nil {
		out.Error = c.err.Error()
	}
	if s.again != c.again {
		*s, out.Again = seen{again: c.again}, true
	}
	out.Previews, s.previews = c.previews[s.previews:], len(c.previews)
	for i, all := range c.series {
		if i == len(s.steps) {
			s.steps = append(s.steps, 0)
		}
		from := s.steps[i]
		if s.steps[i] = len(all.Steps); from == len(all.Steps) {
			continue
		}
		part := series{Name: all.Name, Kind: all.Kind, Steps: all.Steps[from:]}
		for _, v := range all.Values {
			part.Values = append(part.Values, column{v.Name, v.Values[from:]})
		}
		out.Series = append(out.Series, part)
	}
	return out
}
