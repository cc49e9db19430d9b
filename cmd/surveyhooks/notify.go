package main

import (
	"context"
	"net"
	"strconv"
	"time"
)

// supervisor is systemd, when it started us with Type=notify; else nobody, and telling it is nothing. A socket whose
// name begins with @ is an abstract one, for systemd and for package net alike.
type supervisor struct{ socket string }

// tell sends a state such as READY=1. A supervisor that does not listen is its own trouble.
func (s supervisor) tell(ctx context.Context, state string) {
	if s.socket == "" {
		return
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unixgram", s.socket)
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = conn.Write([]byte(state)) // as above
}

// keepWatch tells the supervisor twice per watchdog interval that we live, while we do, until ctx ends. usec is
// WATCHDOG_USEC.
func (s supervisor) keepWatch(ctx context.Context, usec string, alive func() bool) {
	interval, err := strconv.ParseInt(usec, 10, 64)
	if s.socket == "" || err != nil || interval < 2 {
		return
	}
	ticker := time.NewTicker(time.Duration(interval) * time.Microsecond / 2)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			if alive() {
				s.tell(ctx, "WATCHDOG=1")
			}
		case <-ctx.Done():
			return
		}
	}
}
