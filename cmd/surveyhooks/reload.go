package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/chattosurvey/surveyhooks/relay/seal"
)

// reloader is what serve takes over anew at SIGHUP, from the files that it came from.
type reloader struct {
	app    *app
	keys   *seal.Ring
	level  *slog.LevelVar
	logger *slog.Logger
}

// watch reloads at each SIGHUP until the returned function is called.
func (r reloader) watch(ctx context.Context) (stop func()) {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // the drain is a time at which somebody may want to see more
	go func() {
		defer close(done)
		for {
			select {
			case <-ctx.Done():
				return
			case <-hangups:
				r.reload()
			}
		}
	}()
	return func() {
		signal.Stop(hangups)
		cancel()
		<-done
	}
}

// reload keeps what it has of whatever is wrong with the new.
func (r reloader) reload() {
	if fresh, err := r.app.requireKeyring(); err != nil {
		r.logger.Error("keyring not taken over: the old one stays", "error", err)
	} else {
		r.keys.Replace(fresh)
		r.logger.Info("keyring taken over", "keys", fresh.IDs())
	}
	if r.app.fileOf(logLevel) == "" {
		return // a flag or a variable is as old as the process
	}
	if level, err := r.readLevel(); err != nil {
		r.logger.Error("log level not taken over: the old one stays", "error", err)
	} else {
		r.level.Set(level)
		r.logger.Log(context.Background(), level, "log level taken over")
	}
}

func (r reloader) readLevel() (slog.Level, error) {
	content, err := os.ReadFile(r.app.fileOf(logLevel))
	if err != nil {
		return 0, fmt.Errorf("read log level: %w", err)
	}
	return parseLogLevel(strings.TrimSpace(string(content)))
}
