//go:build !unix

package main

func smallDisk() {}
