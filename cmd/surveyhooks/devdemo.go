package main

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/receiver"
	"github.com/chattosurvey/surveyhooks/outbox"
	"github.com/chattosurvey/surveyhooks/relay/egress"
	"github.com/chattosurvey/surveyhooks/relay/endpoint"
	"github.com/chattosurvey/surveyhooks/relay/seal"
	"github.com/chattosurvey/surveyhooks/relay/sign"
)

const (
	outageEach = 2 * time.Minute  // so often the failing endpoint is down,
	outageFrom = 20 * time.Second // beginning that long after the start,
	outageLife = 20 * time.Second // for that long: enough to open its breaker
	mended     = 90 * time.Second // the age at which it takes what it refused: by then all retries are used up
)

// demo is one of the endpoints of dev.
type demo struct {
	path, manner string
	id           uuid.UUID
	url          string
	secret       sign.Secret
}

type demos []demo

// demoEndpoints makes the endpoints, or takes those of an earlier run: their URLs follow the receiver, and everything
// else that a person has changed meanwhile stays.
func (a *app) demoEndpoints(ctx context.Context, db *sql.DB, base string) (demos, error) {
	keys, err := a.requireKeyring()
	if err != nil {
		return nil, err
	}
	store, err := endpoint.New(endpoint.Options{DB: db, Policy: egress.Policy{Insecure: true}, Keys: keys})
	if err != nil {
		return nil, err
	}
	list := demos{
		{path: "/healthy", manner: "answers 200 at once"},
		{path: "/failing", manner: fmt.Sprintf("refuses a completed conversation until it is %.0f s old, and everything for %.0f s of every %.0f",
			mended.Seconds(), outageLife.Seconds(), outageEach.Seconds())},
		{path: "/hanging", manner: "never answers: each request ends at the limit of 30 s"},
	}
	company := uuid.MustParse(demoCompany)
	have, _, err := store.List(ctx, endpoint.Filter{Scope: endpoint.Company(company), Limit: 500})
	if err != nil {
		return nil, err
	}
	for i := range list {
		d := &list[i]
		d.url = base + d.path
		if err := d.settle(ctx, store, have); err != nil {
			return nil, fmt.Errorf("make endpoint %s: %w", d.path, err)
		}
	}
	return list, list.load(ctx, db, keys)
}

// description recognises a demo endpoint in a later run.
func (d *demo) description() string { return "Demo: the " + d.path[1:] + " one" }

func (d *demo) settle(ctx context.Context, store *endpoint.Store, have []endpoint.Endpoint) error {
	for _, e := range have {
		if e.Description != d.description() {
			continue
		}
		d.id = e.ID
		if at, err := url.Parse(e.URL); err == nil && at.String() == d.url {
			return nil
		}
		_, err := store.Update(ctx, endpoint.Update{
			Ref: endpoint.Ref{Scope: endpoint.Company(e.CompanyID), ID: e.ID, Actor: "dev"}, URL: &d.url,
		})
		return err
	}
	made, _, err := store.Create(ctx, endpoint.Create{
		CompanyID: uuid.MustParse(demoCompany), URL: d.url, Description: d.description(), Actor: "dev",
	})
	d.id = made.ID
	return err
}

// load reads the secrets as the relay does: those of an earlier run are told to nobody again.
func (l demos) load(ctx context.Context, db *sql.DB, keys *seal.Ring) error {
	ids := make([]uuid.UUID, len(l))
	for i, d := range l {
		ids[i] = d.id
	}
	configs, err := endpoint.Load(ctx, db, keys, ids)
	if err != nil {
		return err
	}
	for _, c := range configs {
		if c.Sealed != nil {
			return fmt.Errorf("read the secret of an earlier run: %w", c.Sealed)
		}
		for i := range l {
			if l[i].id == c.EndpointID && len(c.Secrets) > 0 {
				l[i].secret = c.Secrets[0]
			}
		}
	}
	return nil
}

// secrets are what the receiver verifies with, by path.
func (l demos) secrets() map[string]sign.Secret {
	secrets := make(map[string]sign.Secret, len(l))
	for _, d := range l {
		secrets[d.path] = d.secret
	}
	return secrets
}

// demoAnswers make one endpoint fail and one hang. They know the time alone, so that they go on in the next run as in
// this one.
type demoAnswers struct {
	started  time.Time
	stopping <-chan struct{} // a server that goes away lets its requests go
}

func (d demoAnswers) answer(ctx context.Context, a receiver.Arrival) int {
	switch {
	case a.Path == "/failing" && d.down(a.At):
		return http.StatusServiceUnavailable
	case a.Path == "/failing" && a.Event == string(outbox.ConversationCompletedType) && a.Age < mended:
		return http.StatusInternalServerError
	case a.Path == "/hanging":
		select {
		case <-d.stopping:
			return http.StatusServiceUnavailable
		case <-ctx.Done(): // the sender hung up
		}
	}
	return http.StatusOK
}

// down reports whether the failing endpoint has an outage then.
func (d demoAnswers) down(at time.Time) bool {
	since := (at.Sub(d.started) - outageFrom) % outageEach
	return since >= 0 && since < outageLife
}
