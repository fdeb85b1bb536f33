package lora

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/doob-diffusion/doob/internal/textfile"
)

// scales says how large the scale of each module is. The zero value says alpha = rank.
type scales struct {
	Type         string             `json:"peft_type"`
	Alpha        *float64           `json:"lora_alpha"`
	AlphaPattern map[string]float64 `json:"alpha_pattern"`
	RankStable   bool               `json:"use_rslora"`
	DoRA         bool               `json:"use_dora"`
	Bias         any                `json:"bias"`
	LoraBias     bool               `json:"lora_bias"`
	Saved        any                `json:"modules_to_save"`
	Transposed   bool               `json:"fan_in_fan_out"`
}

// parseScales reads the settings of PEFT, and refuses those under which an adapter is more than B·A.
func parseScales(b []byte, where string) (scales, error) {
	var s scales
	if err := json.Unmarshal(b, &s); err != nil {
		return scales{}, fmt.Errorf("%w: %s: %w", ErrCorrupt, where, err)
	}
	saved, isList := s.Saved.([]any)
	for _, c := range []struct {
		bad             bool
		name, supported string
		value           any
	}{
		{s.Type != "" && s.Type != "LORA", "peft_type", "LORA", s.Type},
		{s.DoRA, "use_dora", "false", s.DoRA},
		{s.Bias != nil && s.Bias != "none", "bias", "none", s.Bias},
		{s.LoraBias, "lora_bias", "false", s.LoraBias},
		{s.Saved != nil && !(isList && len(saved) == 0), "modules_to_save", "null", s.Saved},
		{s.Transposed, "fan_in_fan_out", "false", s.Transposed},
	} {
		if c.bad {
			return scales{}, fmt.Errorf("%w: %s: %s is %v, supported is %s", ErrUnsupported, where, c.name, c.value, c.supported)
		}
	}
	return s, nil
}

// configBeside reads adapter_config.json in the folder of a file.
func configBeside(path string) (scales, error) {
	config := filepath.Join(filepath.Dir(path), "adapter_config.json")
	b, err := textfile.Read(config)
	if errors.Is(err, fs.ErrNotExist) {
		return scales{}, fmt.Errorf("an adapter of PEFT has its alpha in adapter_config.json beside it: %w", err)
	}
	if err != nil {
		return scales{}, err
	}
	return parseScales(b, config)
}

// metadataKey is where diffusers writes the settings of PEFT, with "unet." or "text_encoder." before each.
const metadataKey = "lora_adapter_metadata"

// inMetadata reads the settings of a part.
func inMetadata(metadata map[string]string, part string) (scales, error) {
	text, ok := metadata[metadataKey]
	if !ok {
		return scales{}, nil
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		return scales{}, fmt.Errorf("%w: metadata %s: %w", ErrCorrupt, metadataKey, err)
	}
	mine := map[string]json.RawMessage{}
	for name, v := range all {
		if name, ok := strings.CutPrefix(name, part); ok {
			mine[name] = v
		}
	}
	b, err := json.Marshal(mine)
	if err != nil {
		return scales{}, err
	}
	return parseScales(b, "metadata "+metadataKey)
}

// of returns the scale of a module. A pattern is a regular expression for the end of its name, from a dot on, or for its beginning after ^.
func (s scales) of(module string, rank int) (float64, error) {
	a := float64(rank)
	if s.Alpha != nil {
		a = *s.Alpha
	}
	if v, ok := s.AlphaPattern[module]; ok {
		a = v
	} else {
		matched := ""
		for pattern, v := range s.AlphaPattern {
			expression := `^(.*\.)?(` + pattern + `)$`
			if strings.HasPrefix(pattern, "^") {
				expression = pattern
			}
			re, err := regexp.Compile(expression)
			if err != nil {
				return 0, fmt.Errorf("%w: alpha_pattern: %w", ErrUnsupported, err)
			}
			if !re.MatchString(module) {
				continue
			}
			if matched != "" && v != a {
				return 0, fmt.Errorf("%w: alpha_pattern: both %q and %q match, and say different things", ErrUnsupported, min(matched, pattern), max(matched, pattern))
			}
			a, matched = v, pattern
		}
	}
	if s.RankStable && s.Alpha != nil {
		return a / math.Sqrt(float64(rank)), nil
	}
	return a / float64(rank), nil
}
