package external

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/doob-diffusion/doob/reward"
)

// parse reads an answer to a request of the given samples, of n in all, and sets the reward of the k-th of them.
func parse(text []byte, id int, set func(k int, v float64), samples []int, n int) error {
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(quoted(text), &keys); err != nil {
		return fmt.Errorf(`%w: got %s, want one line of JSON such as {"rewards":[0.5]}; what is for people belongs to standard error`, ErrAnswer, excerpt(text))
	}
	if said, ok := keys["error"]; ok {
		return fmt.Errorf("%w: %s", ErrScorer, excerpt(said))
	}
	if got, ok := keys["id"]; ok && id != 0 && string(got) != strconv.Itoa(id) {
		return fmt.Errorf("%w: it is to request %s, want %d: one answer for every request, in their order", ErrAnswer, excerpt(got), id)
	}
	var values []json.RawMessage
	if list, ok := keys["rewards"]; !ok {
		return fmt.Errorf(`%w: it has the keys %q, want "rewards"`, ErrAnswer, slices.Sorted(maps.Keys(keys)))
	} else if err := json.Unmarshal(list, &values); err != nil || values == nil {
		return fmt.Errorf("%w: rewards is %s, want a list of numbers, one a sample", ErrAnswer, excerpt(list))
	}
	if len(values) != len(samples) {
		return fmt.Errorf("%w: %d rewards for %d samples, want one for each", reward.ErrInvalid, len(values), len(samples))
	}
	for k, raw := range values {
		v, err := number(string(raw))
		if err != nil {
			return fmt.Errorf("%w, for sample %d of %d", err, samples[k], n)
		}
		set(k, v)
	}
	return nil
}

// number reads a reward.
func number(text string) (float64, error) {
	switch strings.Trim(text, `"`) {
	case "-Infinity", "-inf":
		return math.Inf(-1), nil
	case "NaN", "nan", "Infinity", "inf":
		return 0, fmt.Errorf("%w: it is %s, want a finite number or -Infinity", reward.ErrInvalid, text)
	case "null":
		return 0, fmt.Errorf("%w: it is missing (null), want a number", reward.ErrInvalid)
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: got %s, want a number", reward.ErrInvalid, excerpt([]byte(text)))
	}
	return v, nil
}

// quoted puts NaN, Infinity and -Infinity into quotes where they stand for numbers, as Python's json and others write them: JSON has none of them.
func quoted(text []byte) []byte {
	var out bytes.Buffer
	inside := false
	for i := 0; i < len(text); i++ {
		if inside && text[i] == '\\' && i+1 < len(text) {
			out.Write(text[i : i+2])
			i++
			continue
		}
		inside = inside != (text[i] == '"')
		word := ""
		for _, w := range []string{"NaN", "-Infinity", "Infinity"} {
			if !inside && word == "" && bytes.HasPrefix(text[i:], []byte(w)) {
				word = w
			}
		}
		if word == "" {
			out.WriteByte(text[i])
			continue
		}
		out.WriteString(`"` + word + `"`)
		i += len(word) - 1
	}
	return out.Bytes()
}

// excerpt is the beginning of a text, in quotes.
func excerpt(text []byte) string {
	const most = 200
	text = bytes.TrimSpace(text)
	if len(text) <= most {
		return strconv.Quote(string(text))
	}
	return fmt.Sprintf("%q… (%d bytes)", text[:most], len(text))
}
