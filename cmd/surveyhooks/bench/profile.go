package bench

import (
	"errors"
	"fmt"
	"os"
	"runtime/pprof"
)

// startProfile profiles this process's CPU into name.cpu until the returned function is called, which also writes what
// was allocated to name.allocs. An empty name profiles nothing.
func startProfile(name string) (stop func() error, err error) {
	if name == "" {
		return func() error { return nil }, nil
	}
	cpu, err := os.Create(name + ".cpu")
	if err != nil {
		return nil, fmt.Errorf("profile relay: %w", err)
	}
	if err := pprof.StartCPUProfile(cpu); err != nil {
		return nil, fmt.Errorf("profile relay: %w", errors.Join(err, cpu.Close()))
	}
	return func() error {
		pprof.StopCPUProfile()
		allocs, err := os.Create(name + ".allocs")
		if err != nil {
			return errors.Join(fmt.Errorf("profile relay: %w", err), cpu.Close())
		}
		return errors.Join(cpu.Close(), pprof.Lookup("allocs").WriteTo(allocs, 0), allocs.Close())
	}, nil
}
