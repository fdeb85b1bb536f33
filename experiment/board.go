package experiment

import (
	"cmp"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/internal/tensorboard"
)

// board keeps event files for TensorBoard in the folder tensorboard of a run: one of every stage, which TensorBoard takes for a run of its
// own and so draws all methods into the same charts, and one of the run itself. They say what the events that count say, also after a resume.
type board struct {
	folder string // of the run
	name   func(stage) string
	logs   map[string]*tensorboard.Log
	behind bool // files may say what no longer counts
	off    bool
}

func newBoard(p Problem, folder string) *board {
	c := p.common()
	name := func(at stage) string { return cmp.Or(c.fileName(at.name, at.task, at.seed), "run") }
	return &board{folder: folder, name: name, logs: map[string]*tensorboard.Log{}, behind: true, off: c.NoTensorBoard}
}

const boardFolder = "tensorboard"

func (b *board) log(name string) *tensorboard.Log {
	if b.logs[name] == nil {
		b.logs[name] = tensorboard.New(filepath.Join(b.folder, boardFolder, name))
	}
	return b.logs[name]
}

// add notes what an event says, and returns in which log.
func (b *board) add(ev Event) string {
	name := "run"
	if ev.Stage != "" {
		name = b.name(ev.stage())
	}
	l := b.log(name)
	if ev.Config != "" {
		l.Add("config", 0, tensorboard.Text("config", "```yaml\n"+ev.Config+"```\n"))
	}
	if ev.Loss != nil {
		l.Add("training", ev.Done, tensorboard.Scalar("training/loss", float64(*ev.Loss)))
	}
	if it := ev.Iteration; it != nil {
		l.Add("iteration", ev.Done, append(certificateScalars("iteration/", it.Certificate),
			tensorboard.Scalar("iteration/acceptance", it.Acceptance), tensorboard.Scalar("iteration/loss", it.Loss),
			tensorboard.Scalar("iteration/network_calls", float64(it.NetworkCalls)), tensorboard.Scalar("iteration/seconds", it.Seconds))...)
	}
	if ev.Held != nil {
		l.Add("held", ev.Done, certificateScalars("held/", *ev.Held)...)
	}
	if ev.Picture != "" && ev.Result == nil {
		l.Add("preview", ev.Done, b.picture("preview", ev.Picture))
	}
	if _, network := ev.Result["stored"]; ev.Result != nil && !network {
		var values []tensorboard.Value
		for _, name := range slices.Sorted(maps.Keys(ev.Result)) {
			e := ev.Result[name]
			values = append(values, tensorboard.Scalar("result/"+name, e.Value), tensorboard.Scalar("result_se/"+name, e.SE))
		}
		if c := ev.Certificate; c != nil {
			values = append(values, tensorboard.Text("verdict", c.Reason))
		}
		if ev.Picture != "" {
			values = append(values, b.picture("samples", ev.Picture))
		}
		l.Drop("result", 0) // that of fewer iterations
		l.Add("result", ev.Done, values...)
	}
	return name
}

// write notes an event, and brings files in line with what counts: after a resume all of them, later the one of the event.
func (b *board) write(ev Event) error {
	if b.off {
		return nil
	}
	return b.flush(b.add(ev))
}

func (b *board) flush(name string) error {
	if !b.behind {
		return b.logs[name].Write()
	}
	entries, err := os.ReadDir(filepath.Join(b.folder, boardFolder))
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	for _, e := range entries {
		if b.logs[e.Name()] == nil { // nothing of it counts
			if err := os.RemoveAll(filepath.Join(b.folder, boardFolder, e.Name())); err != nil {
				return err
			}
		}
	}
	for _, l := range b.logs {
		if err := l.Write(); err != nil {
			return err
		}
	}
	b.behind = false
	return nil
}

// figures adds those of the report, when the run ends.
func (b *board) figures() error {
	if b.off {
		return nil
	}
	files, err := filepath.Glob(filepath.Join(b.folder, "figures", "*.png"))
	if err != nil {
		return err
	}
	l, values := b.log("run"), []tensorboard.Value(nil)
	for _, file := range files {
		name := filepath.Base(file)
		values = append(values, b.picture("figures/"+name[:len(name)-len(".png")], filepath.Join("figures", name)))
	}
	l.Add("figures", 0, values...)
	return b.flush("run")
}

func (b *board) picture(tag, file string) tensorboard.Value {
	return tensorboard.PNG(tag, func() ([]byte, error) { return os.ReadFile(filepath.Join(b.folder, filepath.FromSlash(file))) })
}

// certificateScalars are the numbers of a certificate, by their names in JSON.
func certificateScalars(prefix string, c finetune.Certificate) (out []tensorboard.Value) {
	for _, n := range []struct {
		name  string
		value finetune.Number
	}{{"reward", c.Reward}, {"ess_fraction", c.ESS}, {"log_z", c.LogZ}, {"log_z_se", c.LogZSE}, {"l_sc", c.LSC}, {"l_sc_se", c.LSCSE},
		{"kl", c.KL}, {"kl_se", c.KLSE}, {"kl_base", c.KLBase}, {"k_hat", c.KHat}, {"reliable", truth(c.Reliable)}, {"kl_reliable", truth(c.KLReliable)}} {
		out = append(out, tensorboard.Scalar(prefix+n.name, float64(n.value)))
	}
	return out
}

func truth(is bool) finetune.Number {
	if is {
		return 1
	}
	return 0
}
