package main

// The problems that this program knows. Each registers itself.
import (
	_ "github.com/doob-diffusion/doob/experiment/mnist"
	_ "github.com/doob-diffusion/doob/experiment/own"
	_ "github.com/doob-diffusion/doob/experiment/superres"
	_ "github.com/doob-diffusion/doob/experiment/textimage"
	_ "github.com/doob-diffusion/doob/experiment/toy"
)
