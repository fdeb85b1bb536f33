package serve

import (
	"cmp"
	"encoding/json"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"strings"

	"github.com/doob-diffusion/doob/sd"
)

// index is in the folder of any model in the layout of diffusers; it is no longer than longestIndex.
const (
	index        = "model_index.json"
	longestIndex = 1 << 16
)

// models lists the folders of Stable Diffusion by their names.
func (l *collection) models() (names []string) {
	for _, p := range l.places {
		if p.isModel("") {
			names = append(names, p.label)
			continue
		}
		entries, _ := fs.ReadDir(p.root.FS(), ".") // none, if it cannot be read
		for _, e := range entries[:min(len(entries), most)] {
			if p.isModel(e.Name()) {
				names = append(names, p.label+"/"+e.Name())
			}
		}
	}
	return names
}

// model returns the folder of one.
func (l *collection) model(name string) (dir string, ok bool) {
	for _, p := range l.places {
		folder, below := strings.CutPrefix(name, p.label+"/")
		switch {
		case name == p.label && p.isModel(""):
			return p.path, true
		case below && folder != "" && p.isModel(folder):
			return filepath.Join(p.path, folder), true
		}
	}
	return "", false
}

// isModel reports whether a folder of a place, or the place itself, is that of a model that can be told what to draw: an unconditional one is drawn from by the
// run that has it as its prior.
func (p place) isModel(folder string) bool {
	if folder != "" && !isChild(folder) {
		return false
	}
	file := path.Join(folder, index)
	if info, err := fs.Stat(p.root.FS(), file); err != nil || !info.Mode().IsRegular() {
		return false
	}
	f, err := p.root.FS().Open(file)
	if err != nil {
		return false
	}
	defer f.Close()
	var of struct {
		Class string `json:"_class_name"`
	}
	text, err := io.ReadAll(io.LimitReader(f, longestIndex))
	return err == nil && (json.Unmarshal(text, &of) != nil || !sd.IsUnconditional(of.Class)) // what cannot be understood is told when it is drawn from
}

// loras lists the files of low-rank adapters by their names: those in the given folders themselves, and what runs have learned.
func (l *collection) loras() map[string]string {
	all := map[string]string{}
	add := func(p place, dir string) {
		entries, _ := fs.ReadDir(p.root.FS(), cmp.Or(dir, "."))
		for _, e := range entries {
			if e.Type().IsRegular() && path.Ext(e.Name()) == ".safetensors" && !strings.HasPrefix(e.Name(), ".") && len(all) < most {
				all[path.Join(p.label, dir, e.Name())] = filepath.Join(p.path, filepath.FromSlash(dir), e.Name())
			}
		}
	}
	for _, p := range l.places {
		add(p, "")
		add(p, "lora")
		entries, _ := fs.ReadDir(p.root.FS(), ".")
		for _, e := range entries[:min(len(entries), most)] {
			if e.IsDir() && isChild(e.Name()) {
				add(p, path.Join(e.Name(), "lora"))
			}
		}
	}
	return all
}
