package mnist

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/gonum/stat"

	"github.com/doob-diffusion/doob/data"
	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
	"github.com/doob-diffusion/doob/steer"
)

// bySize are the tasks whose reward is the size of an image's file: by the sign of it.
var bySize = map[string]float64{"compressible": -1, "incompressible": 1}

// quality is that of DDPO's JPEGs.
const quality = 95

// classes returns the classes of a task, nil if it has none.
func classes(task string) []int {
	switch class, single := strings.CutPrefix(task, "single_"); {
	case task == "even":
		return []int{0, 2, 4, 6, 8}
	case task == "odd":
		return []int{1, 3, 5, 7, 9}
	case single:
		if n, err := strconv.Atoi(class); err == nil && len(class) == 1 {
			return []int{n}
		}
	}
	return nil
}

// reward makes that of a task. File sizes are in standard deviations of those of training images.
func (p *Problem) reward(e *engine.Engine, task string) (reward.Reward, error) {
	if classes := classes(task); classes != nil {
		return reward.NewClass(e, p.classifier, classes, p.Scale, shape, p.Batch)
	}
	file := reward.JPEG{Shape: shape, Quality: quality}
	n := min(p.images.Train.N, 2000)
	sizes := make([]float64, n)
	for i := range sizes {
		bytes, err := file.Size(p.images.Train.At(i))
		if err != nil {
			return nil, err
		}
		sizes[i] = float64(bytes)
	}
	mean, sd := stat.MeanStdDev(sizes, nil)
	file.Mean, file.Scale = mean, bySize[task]*p.Scale/sd
	return file, nil
}

// like returns the pixels of n images as a task wants them: the first of its classes, as far as there are so many; without classes, drawn by the
// weights exp r.
func (p *Problem) like(ctx context.Context, im data.Images, task string, n int) ([]float32, error) {
	if classes := classes(task); classes != nil {
		return only(im, classes, n), nil
	}
	rewards, err := p.rewards[task].Rewards(ctx, im.Pixels, im.N)
	if err != nil {
		return nil, err
	}
	return steer.Particles{Paths: diffusion.Paths{X: im.Pixels, N: im.N, Dim: pixels}, LogW: rewards}.Resample(n, noise.New(p.Seed).Sub("like")), nil
}

// only returns the pixels of the first n images of some classes.
func only(im data.Images, classes []int, n int) []float32 {
	var out []float32
	for i := range im.N {
		if slices.Contains(classes, im.Labels[i]) && len(out) < n*pixels {
			out = append(out, im.At(i)...)
		}
	}
	return out
}
