package main

import (
	"errors"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/access"
	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/recovery"
	"github.com/chattosurvey/surveyhooks/projections"
	"github.com/chattosurvey/surveyhooks/relay/delivery"
	"github.com/chattosurvey/surveyhooks/relay/endpoint"
	"github.com/chattosurvey/surveyhooks/relay/fleet"
	"github.com/chattosurvey/surveyhooks/relay/seal"
)

// ownersCode sorts the typed errors of the packages that own endpoints, deliveries and history.
func ownersCode(err error) int {
	if _, ok := errors.AsType[*endpoint.NotFoundError](err); ok {
		return exitNotFound
	}
	if _, ok := errors.AsType[*delivery.NotFoundError](err); ok {
		return exitNotFound
	}
	if _, ok := errors.AsType[*recovery.NotFoundError](err); ok {
		return exitNotFound
	}
	if _, ok := errors.AsType[*access.NotFoundError](err); ok {
		return exitNotFound
	}
	if _, ok := errors.AsType[*fleet.NotFoundError](err); ok {
		return exitNotFound
	}
	if _, ok := errors.AsType[*fleet.InvalidError](err); ok {
		return exitUsage
	}
	if _, ok := errors.AsType[*recovery.InvalidError](err); ok {
		return exitUsage
	}
	if _, ok := errors.AsType[*access.InvalidError](err); ok {
		return exitUsage
	}
	if _, ok := errors.AsType[*projections.BadFilterError](err); ok {
		return exitUsage
	}
	if _, ok := errors.AsType[*projections.BadCursorError](err); ok {
		return exitUsage
	}
	if _, ok := errors.AsType[*endpoint.InvalidError](err); ok || errors.Is(err, seal.ErrNoKeys) {
		return exitUsage
	}
	return exitFailure
}
