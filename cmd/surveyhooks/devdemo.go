package main

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/access"
	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/receiver"
	"github.com/chattosurvey/surveyhooks/relay/egress"
	"github.com/chattosurvey/surveyhooks/relay/endpoint"
	"github.com/chattosurvey/surveyhooks/relay/seal"
	"github.com/chattosurvey/surveyhooks/relay/sign"
)

const (
	failEach = 3               // every so manyeth request to the flaky endpoint fails
	slowness = 3 * time.Second // of the slow one
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
		{path: "/healthy", manner: "answers 200"},
		{path: "/flaky", manner: fmt.Sprintf("answers 500 to every %drd request", failEach)},
		{path: "/slow", manner: fmt.Sprintf("answers 200 after %s", slowness)},
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
func (d *demo) description() string { return "surveyhooks dev: " + d.path }

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

// demoAnswers make one endpoint fail at times and one slow.
type demoAnswers struct{ flaky *atomic.Int64 }

func newDemoAnswers() demoAnswers { return demoAnswers{new(atomic.Int64)} }

func (d demoAnswers) answer(ctx context.Context, a receiver.Arrival) int {
	switch {
	case a.Path == "/flaky" && d.flaky.Add(1)%failEach == 0:
		return http.StatusInternalServerError
	case a.Path == "/slow":
		timer := time.NewTimer(slowness)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	return http.StatusOK
}

// devWeb serves on the listener. Browsers keep a session's cookie without TLS from localhost alone, whatever address of
// this machine it is.
func devWeb(listener net.Listener) webOptions {
	_, port, _ := net.SplitHostPort(listener.Addr().String()) // a listener's address has one
	return webOptions{
		listener: listener, listenAddr: listener.Addr().String(), publicURL: "http://localhost:" + port,
		idle: 12 * time.Hour, absolute: 12 * time.Hour, // one working day: to sign in again means to start dev again
	}
}

// devLink signs a person in as the owner of the demo company.
func devLink(ctx context.Context, db *sql.DB, publicURL string) (string, error) {
	store, err := access.NewStore(access.Options{DB: db})
	if err != nil {
		return "", err
	}
	_, token, err := store.MintLink(ctx, access.Caller{Role: access.Operator, Actor: "dev"}, access.NewLink{
		CompanyID: uuid.MustParse(demoCompany), Role: access.Owner, Person: "dev", Life: 24 * time.Hour,
	})
	return access.PortalURL(publicURL, token), err
}

// devGuide says what runs, and what to try next, with ids that work. hint says what else those commands need.
func (a *app) devGuide(l demos, link, hint string) {
	healthy, flaky := l[0], l[1]
	self := "surveyhooks"
	if strings.ContainsRune(os.Args[0], os.PathSeparator) {
		self = os.Args[0] // as it was called: it need not be in PATH
	}
	var text strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&text, format+"\n", args...) }
	say("")
	say("INSECURE ENDPOINTS ARE ALLOWED here: plain http and private addresses. For development only.")
	say("")
	say("company   %s", demoCompany)
	for _, d := range l {
		say("%-8s  %s  %s  %s", d.path[1:], d.id, d.url, d.manner)
	}
	say("")
	say("Sign in, once:  %s", link)
	say("")
	say("Try in another terminal%s:", hint)
	say("  %s publish --company %s --type conversation.completed --sample", self, demoCompany)
	say("  %s deliveries list --endpoint %s", self, flaky.id)
	say("  %s attempts list --endpoint %s", self, flaky.id)
	say("  %s endpoints test %s", self, healthy.id)
	say("  %s endpoints disable %s     (its deliveries are held until: endpoints enable)", self, healthy.id)
	say("  %s endpoints create --company %s --url http://127.0.0.1:3000/hook --insecure-endpoints", self, demoCompany)
	say("  %s audit", self)
	say("  curl -i %s -d '{}'     (refused: nobody signed it)", healthy.url)
	say(`  psql "%s" -c "SELECT webhooks.publish('conversation.started', '%s', '{\"hello\": \"world\"}')"`, maskDSN(a.databaseURL), demoCompany)
	say(`  psql "%s" -c "TABLE webhooks.endpoint_health"`, maskDSN(a.databaseURL))
	say("Ctrl-C stops everything in order. What arrives:")
	say("")
	fmt.Fprint(a.stdout, text.String())
}
