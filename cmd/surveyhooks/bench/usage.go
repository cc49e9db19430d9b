package bench

import (
	"bytes"
	"os"
	"strconv"
	"strings"
)

// ticksPerSecond is USER_HZ of /proc, which is 100 on every Linux that Go runs on.
const ticksPerSecond = 100

// stat is what /proc tells of a process's time. Where there is no /proc everything is 0.
type stat struct {
	parent          int
	own, descendant float64 // CPU seconds: its own, and of its children that have ended
}

func readStat(pid int) stat {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return stat{}
	}
	// The second field is the program's name in parentheses, and may hold anything.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 15 {
		return stat{}
	}
	number := func(i int) float64 {
		n, _ := strconv.ParseFloat(fields[i], 64) // the kernel's own digits
		return n
	}
	return stat{
		parent:     int(number(1)),
		own:        (number(11) + number(12)) / ticksPerSecond,
		descendant: (number(13) + number(14)) / ticksPerSecond,
	}
}

// familyCPU is the CPU seconds of a process and of all its children, those that have ended included.
func familyCPU(pid int) float64 {
	if pid == 0 {
		return 0
	}
	root := readStat(pid)
	sum := root.own + root.descendant
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return sum
	}
	for _, entry := range entries {
		if n, err := strconv.Atoi(entry.Name()); err == nil && n != pid {
			if s := readStat(n); s.parent == pid {
				sum += s.own
			}
		}
	}
	return sum
}

// peakMB is the largest resident memory that the process ever had, in MiB.
func peakMB(pid int) float64 {
	if pid == 0 {
		return 0
	}
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			if kb, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64); err == nil {
				return kb / 1024
			}
		}
	}
	return 0
}
