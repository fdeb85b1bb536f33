package serve

import (
	"cmp"
	"io/fs"
	"path"
	"path/filepath"
	"strings"
)

// index is in the folder of any Stable Diffusion in the layout of diffusers.
const index = "model_index.json"

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

// isModel reports whether a folder of a place, or the place itself, is that of a model.
func (p place) isModel(folder string) bool {
	if folder != "" && !isChild(folder) {
		return false
	}
	info, err := fs.Stat(p.root.FS(), path.Join(folder, index))
	return err == nil && info.Mode().IsRegular()
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
