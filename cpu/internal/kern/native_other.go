//go:build !amd64 || noasm

package kern

func native() []*Table { return nil }
