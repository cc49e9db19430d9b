// Package main is the command surveyhooks: it runs the relay and its projections, and lets operators look and act from
// a shell.
//
// It owns flags, environment, output and exit codes. Data goes to standard output and everything else to standard
// error; an exit code is 0 (ok), 1 (failure), 2 (usage), 3 (not found) or 4 (the database, or serve, cannot be reached). It never
// changes a table itself: each verb acts through the package that owns what it changes, and it never prints a secret
// that it was not asked for.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // a scratch image has no zone files
)

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		cancel()
		<-signals
		fmt.Fprintln(os.Stderr, "surveyhooks: second signal: what is under way is abandoned and will be sent again")
		os.Exit(exitFailure)
	}()
	code := run(ctx, os.Args[1:], process{env: os.Environ(), stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr})
	cancel()
	os.Exit(code)
}
