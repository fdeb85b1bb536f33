package experiment

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/reward"
)

// goesOn adds to an error whose cause is outside how the run goes on without it: all files are whole, and the last snapshot is there.
func (r *run) goesOn(err error) error {
	is := func(causes ...error) bool {
		for _, cause := range causes {
			if errors.Is(err, cause) {
				return true
			}
		}
		return false
	}
	var once string
	switch {
	case is(syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG): // the disk, a quota, a limit
		once = "there is room on the disk"
	case is(reward.ErrFailed, reward.ErrInvalid, finetune.ErrNoSignal):
		once = "the reward works"
	default:
		return err
	}
	return fmt.Errorf("%w\nwhat was done before is kept; once %s, doob run --resume %s goes on from there", err, once, r.folder.Path)
}
