// Package config reads configurations strictly: unknown keys, values of a wrong type and numbers out of range are errors that
// show the place.
package config

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/doob-diffusion/doob/internal/textfile"
)

// ErrConfig says that a configuration has an unknown key, a value of the wrong type, or a value out of range.
var ErrConfig = errors.New("configuration")

// Decode reads a YAML mapping over dst; a key without a value changes nothing. Keys for which elsewhere returns destinations are read over
// those and not over dst, and skipped for a list of none that is not nil. Where names the source in errors, which wrap [ErrConfig].
func Decode(dst any, source []byte, where string, elsewhere func(key string) []any) error {
	fail := func(err error) error {
		return fmt.Errorf("%w: %s:\n%s", ErrConfig, where, strings.TrimRight(yaml.FormatError(err, false, true), "\n"))
	}
	source, err := textfile.Plain(source)
	if err != nil {
		return fail(err)
	}
	file, err := parser.ParseBytes(source, 0)
	if err != nil {
		return fail(err)
	}
	for _, doc := range file.Docs {
		if doc.Body == nil {
			if next := following(doc.Start); next != nil {
				return fail(&yaml.SyntaxError{Message: "a document after an empty one", Token: next}) // which the parser drops
			}
			continue
		}
		if doc.Body.Type() == ast.NullType {
			continue // to the decoder, it would reset all of dst
		}
		body, ok := doc.Body.(*ast.MappingNode)
		if !ok {
			return fail(&yaml.SyntaxError{Message: fmt.Sprintf("got %s, want keys with values", doc.Body.Type()), Token: doc.Body.GetToken()})
		}
		var own []*ast.MappingValueNode
		for _, pair := range body.Values {
			key := pair.Key.GetToken().Value // without quotes
			targets := elsewhere(key)
			if targets == nil {
				own = append(own, pair)
			}
			for _, target := range targets {
				if err := node(target, pair.Value, map[string]any{key: target}); err != nil {
					return fail(err)
				}
			}
		}
		if body.Values = own; len(own) > 0 {
			if err := node(dst, body, dst); err != nil {
				return fail(err)
			}
		}
	}
	return nil
}

// leadingZero is how whole numbers are written whose value is not clear.
var leadingZero = regexp.MustCompile(`^[+-]?0[0-9_]+$`)

// following returns the start of the document after an empty one, nil if there is none.
func following(start *token.Token) *token.Token {
	for start != nil {
		if start = start.Next; start != nil && start.Type == token.DocumentHeaderType {
			return start
		}
	}
	return nil
}

// node decodes a part of a document over dst, which lies in whole as the part does in the document.
func node(dst any, n ast.Node, whole any) error {
	if n.Type() == ast.NullType {
		return nil
	}
	var found visitor
	ast.Walk(&found, n)
	for _, key := range found.keys {
		if t := key.Type(); t != ast.StringType && t != ast.MergeKeyType { // the decoder would drop the whole mapping
			return &yaml.SyntaxError{Message: fmt.Sprintf("cannot use %s as a key, want a name", key.GetToken().Value), Token: key.GetToken()}
		}
	}
	if len(found.endless) > 0 {
		return notFinite(found.endless[0].GetToken())
	}
	for _, n := range found.numbers {
		if t := n.GetToken(); leadingZero.MatchString(t.Value) {
			plain := cmp.Or(strings.TrimLeft(strings.TrimLeft(t.Value, "+-"), "0_"), "0")
			return &yaml.SyntaxError{Message: fmt.Sprintf("cannot use %s: a 0 before a number makes it octal in one version of YAML, and not in another; want %s, or a text in quotes", t.Value, plain), Token: t}
		}
	}
	if err := yaml.NodeToValue(n, dst, yaml.Strict()); err != nil {
		return suggested(err, dst)
	}
	return wholeNumbers(whole, found.scalars)
}

// suggested adds to an error about a key that is not known which one may be meant.
func suggested(err error, dst any) error {
	var at yaml.Error
	if !errors.As(err, &at) {
		return err
	}
	if number, ok := strings.CutSuffix(at.GetMessage(), " ( overflow )"); ok {
		number = strings.TrimPrefix(number, "cannot unmarshal ")
		number, _, _ = strings.Cut(number, " ")
		return &yaml.SyntaxError{Message: fmt.Sprintf("cannot use %s: it is too large a number", number), Token: at.GetToken()}
	}
	_, quoted, ok := strings.Cut(at.GetMessage(), "unknown field ")
	key, bad := strconv.Unquote(quoted)
	if !ok || bad != nil {
		return err
	}
	return &yaml.SyntaxError{Message: at.GetMessage() + Suggest(key, keys(reflect.TypeOf(dst), "", 0)), Token: at.GetToken()}
}

// visitor collects keys, values that are floats or strings, finite numbers, and others.
type visitor struct{ keys, scalars, numbers, endless []ast.Node }

func (v *visitor) Visit(n ast.Node) ast.Visitor {
	switch n := n.(type) {
	case *ast.MappingValueNode:
		v.keys = append(v.keys, n.Key)
		ast.Walk(v, n.Value)
		return nil
	case *ast.FloatNode:
		v.scalars, v.numbers = append(v.scalars, n), append(v.numbers, n)
	case *ast.StringNode:
		v.scalars = append(v.scalars, n)
	case *ast.IntegerNode:
		v.numbers = append(v.numbers, n)
	case *ast.InfinityNode, *ast.NanNode:
		v.endless = append(v.endless, n)
	}
	return v
}

// wholeNumbers refuses 1.5 where the decoded value has an integer: the decoder has cut it to 1, or to another integer if it is too large.
// It takes 1e3 and "1.5", which are strings to the parser, for numbers too. Integers are told from other numbers by how they are written,
// as 1 and not 1.0.
func wholeNumbers(whole any, scalars []ast.Node) error {
	var decoded *ast.File
	for _, n := range scalars {
		var x float64
		switch n := n.(type) {
		case *ast.FloatNode:
			x = n.Value
		case *ast.StringNode:
			var err error
			if x, err = strconv.ParseFloat(n.Value, 64); err != nil || x == math.Trunc(x) && math.Abs(x) <= 1<<53 {
				continue
			}
		}
		if decoded == nil {
			text, err := yaml.Marshal(whole)
			if err != nil {
				return err
			}
			if decoded, err = parser.ParseBytes(text, 0); err != nil {
				return err
			}
		}
		path, err := yaml.PathString(strings.ReplaceAll(n.GetPath(), ".<<", "")) // keys are merged into the mapping around
		if err != nil {
			return err
		}
		got, err := path.FilterFile(decoded)
		if err == nil && (got.Type() == ast.InfinityType || got.Type() == ast.NanType) { // of a text such as inf
			return notFinite(n.GetToken())
		}
		zero := yaml.IsNotFoundNodeError(err) && x != 0 && math.Abs(x) < 1 // left out because it is zero now: it was cut
		if zero || err == nil && got.Type() == ast.IntegerType {
			t := n.GetToken()
			return &yaml.SyntaxError{Message: fmt.Sprintf("cannot use %s as an integer, want a whole number that 64 bits hold", t.Value), Token: t}
		}
	}
	return nil
}

// notFinite refuses a number that no setting may have; of an integer the decoder would make the least one.
func notFinite(t *token.Token) error {
	return &yaml.SyntaxError{Message: fmt.Sprintf("cannot use %s, want a finite number, or a text in quotes", t.Value), Token: t}
}

// Setting writes a setting "a.b=v" as YAML.
func Setting(set string) ([]byte, error) {
	key, value, ok := strings.Cut(set, "=")
	if !ok || key == "" || strings.TrimSpace(value) == "" || strings.ContainsAny(set, "\n\r") {
		return nil, fmt.Errorf("%w: --set %q: want key=value on one line, such as importance.iterations=20; an empty text is \"\"", ErrConfig, set)
	}
	var b strings.Builder
	parts := strings.Split(key, ".")
	for depth, part := range parts {
		fmt.Fprintf(&b, "%s%s:", strings.Repeat("  ", depth), part)
		if depth < len(parts)-1 {
			b.WriteByte('\n')
		}
	}
	fmt.Fprintf(&b, " %s\n", value)
	return []byte(b.String()), nil
}
