//go:build linux

package machine

import (
	"bufio"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// memory is what the kernel calls available, or what is left of the control group's limit if that is less.
func memory() (float64, bool) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || fields[0] != "MemAvailable:" {
			continue
		}
		available, err := strconv.ParseFloat(fields[1], 64)
		if err != nil {
			return 0, false
		}
		available *= 1024
		limit, limited := read("/sys/fs/cgroup/memory.max")
		if used, ok := read("/sys/fs/cgroup/memory.current"); ok && limited {
			available = min(available, max(0, limit-used))
		}
		return available, true
	}
	return 0, false
}

func resident() (float64, bool) {
	text, err := os.ReadFile("/proc/self/statm")
	fields := strings.Fields(string(text))
	if err != nil || len(fields) < 2 {
		return 0, false
	}
	pages, err := strconv.ParseFloat(fields[1], 64)
	return pages * float64(os.Getpagesize()), err == nil
}

func peak() (float64, bool) {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return 0, false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) == 3 && fields[0] == "VmHWM:" {
			kilobytes, err := strconv.ParseFloat(fields[1], 64)
			return kilobytes * 1024, err == nil
		}
	}
	return 0, false
}

// resetPeak is the fifth command of clear_refs, see proc(5).
func resetPeak() bool { return os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) == nil }

func read(file string) (float64, bool) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, false
	}
	v, err := strconv.ParseFloat(strings.TrimSpace(string(text)), 64) // "max" is no limit
	return v, err == nil
}

func disk(folder string) (float64, bool) {
	folder, err := filepath.Abs(folder)
	if err != nil {
		return 0, false
	}
	for {
		var s syscall.Statfs_t
		if err := syscall.Statfs(folder, &s); err == nil {
			return float64(s.Bavail) * float64(s.Bsize), true
		}
		parent := filepath.Dir(folder)
		if parent == folder {
			return 0, false
		}
		folder = parent
	}
}
