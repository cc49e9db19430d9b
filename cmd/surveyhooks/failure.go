package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/lib/pq"

	"github.com/chattosurvey/surveyhooks/outbox"
	"github.com/chattosurvey/surveyhooks/projections"
	"github.com/chattosurvey/surveyhooks/relay/seal"
	"github.com/chattosurvey/surveyhooks/schema"
)

// The exit codes. They are a contract with scripts.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitUnavailable = 4
)

// exitError is an error that chose its exit code.
type exitError struct {
	code int
	err  error
	told bool // it was printed already
}

// Error returns the cause's words.
func (e *exitError) Error() string { return e.err.Error() }

// Unwrap returns the cause.
func (e *exitError) Unwrap() error { return e.err }

func usage(format string, args ...any) error {
	return &exitError{code: exitUsage, err: fmt.Errorf(format, args...)}
}

func notFound(format string, args ...any) error {
	return &exitError{code: exitNotFound, err: fmt.Errorf(format, args...)}
}

func unavailable(format string, args ...any) error {
	return &exitError{code: exitUnavailable, err: fmt.Errorf(format, args...)}
}

// exitCode sorts an error into the contract.
func exitCode(err error) int {
	if chosen, ok := errors.AsType[*exitError](err); ok {
		return chosen.code
	}
	if _, ok := errors.AsType[*outbox.InvalidError](err); ok {
		return exitUsage
	}
	if code := ownersCode(err); code != exitFailure {
		return code
	}
	if schema.Unreachable(err) {
		return exitUnavailable
	}
	return exitFailure
}

// isUnmigrated reports a database that lacks the schema, or a part of it.
func isUnmigrated(err error) bool {
	pqErr, ok := errors.AsType[*pq.Error](err)
	if !ok {
		return false
	}
	switch pqErr.Code {
	case "3F000", "42P01", "42883", "42703": // no such schema, table, function, column
		return true
	default:
		return false
	}
}

// isForbidden reports a login without the rights that a verb needs.
func isForbidden(err error) bool {
	pqErr, ok := errors.AsType[*pq.Error](err)
	return ok && pqErr.Code == "42501"
}

// explain adds to an error what to do about it.
func explain(err error) string {
	text := strings.TrimSuffix(err.Error(), "\n")
	switch {
	case errors.Is(err, seal.ErrNoKeys):
		return text + "\n" + adviceOnKeys()
	case isUnmigrated(err):
		return text + "\nThe database lacks the schema webhooks, or has an older one: run surveyhooks migrate up."
	case isForbidden(err):
		return text + "\nMigrations need the owner of the schema webhooks; everything else, a login that is a member of webhooks_relay: see surveyhooks doctor."
	case errors.Is(err, context.DeadlineExceeded):
		return text + "\nThe database did not answer in time: see surveyhooks doctor."
	default:
		return text
	}
}

// orNotFound gives "no such row" its exit code.
func orNotFound(err error, what string, id any) error {
	if errors.Is(err, projections.ErrNotFound) {
		return notFound("there is no %s %v", what, id)
	}
	return err
}
