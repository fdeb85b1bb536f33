package main

import (
	"fmt"
	"reflect"
	"strconv"

	"github.com/alecthomas/kong"
)

// decimals are how whole numbers of the command line are read: in decimal only. By itself the parser takes 0200 for 128.
func decimals() []kong.Option {
	pop := func(ctx *kong.DecodeContext, kind string) (string, error) {
		token, err := ctx.Scan.PopValue(kind)
		if err != nil {
			return "", err
		}
		return fmt.Sprint(token.Value), nil
	}
	return []kong.Option{
		kong.KindMapper(reflect.Int, kong.MapperFunc(func(ctx *kong.DecodeContext, target reflect.Value) error {
			text, err := pop(ctx, "int")
			if err != nil {
				return err
			}
			n, err := strconv.Atoi(text)
			if err != nil {
				return fmt.Errorf("want a whole number, got %q", text)
			}
			target.SetInt(int64(n))
			return nil
		})),
		kong.KindMapper(reflect.Uint64, kong.MapperFunc(func(ctx *kong.DecodeContext, target reflect.Value) error {
			text, err := pop(ctx, "uint")
			if err != nil {
				return err
			}
			n, err := strconv.ParseUint(text, 10, 64)
			if err != nil {
				return fmt.Errorf("want a whole number from 0 to 18446744073709551615, got %q", text)
			}
			target.SetUint(n)
			return nil
		})),
	}
}
