//go:build !linux

package machine

func memory() (float64, bool) { return 0, false }

func resident() (float64, bool) { return 0, false }

func disk(string) (float64, bool) { return 0, false }

func peak() (float64, bool) { return 0, false }

func resetPeak() bool { return false }
