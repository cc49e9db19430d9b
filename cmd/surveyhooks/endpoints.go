package main

import (
	"context"
	"database/sql"
	"fmt"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/chattosurvey/surveyhooks/outbox/wire"
	"github.com/chattosurvey/surveyhooks/relay/endpoint"
	"github.com/chattosurvey/surveyhooks/relay/sign"
)

// withSecret is an endpoint in the two answers that may show its secret.
type withSecret struct {
	endpoint.Endpoint
	Secret string `json:"secret"`
}

// endpointVerbs shares what the verbs on endpoints have in common.
type endpointVerbs struct {
	*app

	insecure bool
	egress   egressFlags // of the verbs that store a URL; the others judge none

	publicURL string // of the same
}

func newEndpointsCommand(a *app) *cobra.Command {
	v := &endpointVerbs{app: a}
	cmd := group("endpoints", "Make, change and look at endpoints",
		`  surveyhooks endpoints create --company 01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20 --url https://example.com/hooks --events all
  surveyhooks endpoints list --state disabled -o json`,
		v.create(), v.list(), v.get(), v.update(),
		v.change("enable", "Let events go out again; held deliveries go on", (*endpoint.Store).Enable),
		v.disable(), v.remove(), v.test(), v.rotate())
	insecureFlag(cmd.PersistentFlags(), &v.insecure)
	a.sealKeysFlag(cmd.PersistentFlags())
	return cmd
}

// insecureFlag is the one development switch.
func insecureFlag(flags *pflag.FlagSet, insecure *bool) {
	flags.BoolVar(insecure, "insecure-endpoints", false, "DANGER, development only: allow plain http and private addresses as endpoints")
}

// do runs a verb with a store.
func (v *endpointVerbs) do(cmd *cobra.Command, run func(context.Context, *endpoint.Store) error) error {
	if v.insecure {
		v.say("WARNING: --insecure-endpoints: plain http and private addresses are allowed as endpoints; never use this in production")
	}
	own := v.egress
	own.hosts = slices.Concat(own.hosts, (&webOptions{publicURL: v.publicURL}).ownHosts())
	policy, err := own.policy(v.insecure)
	if err != nil {
		return err
	}
	return v.withDB(cmd.Context(), func(ctx context.Context, db *sql.DB) error {
		keys, err := v.keyring()
		if err != nil {
			return err
		}
		store, err := endpoint.New(endpoint.Options{DB: db, Policy: policy, Keys: keys})
		if err != nil {
			return err
		}
		return run(ctx, store)
	})
}

// actor is who asks, for the audit trail: whom the shell or the system knows the process by.
func (a *app) actor() string {
	if user := a.lookup["SUDO_USER"]; user != "" {
		return "cli:" + user
	}
	if user := a.lookup["USER"]; user != "" {
		return "cli:" + user
	}
	if user, err := user.Current(); err == nil && user.Username != "" { // a service or a container has no USER
		return "cli:" + user.Username
	}
	return "cli"
}

func (a *app) ref(text string) (endpoint.Ref, error) {
	id, err := uuidArgument("endpoint", text)
	return endpoint.Ref{Scope: endpoint.AnyCompany(), ID: id, Actor: a.actor()}, err
}

func (v *endpointVerbs) create() *cobra.Command {
	var company uuid.UUID
	var address, description, secret string
	var events []string
	var headers headerFlags
	var limit *int
	cmd := &cobra.Command{
		Use:   "create --company UUID --url URL [--events a,b|all]",
		Short: "Make an endpoint and show its signing secret, this once",
		Example: `  surveyhooks endpoints create --company 01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20 --url https://example.com/hooks
  surveyhooks endpoints create --company 01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20 --url https://example.com/hooks --events conversation.started,conversation.completed -o json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			key, err := secretFlag(secret)
			if err != nil {
				return err
			}
			set, err := headers.read(v.stdin)
			if err != nil {
				return err
			}
			return v.do(cmd, func(ctx context.Context, store *endpoint.Store) error {
				made, key, err := store.Create(ctx, endpoint.Create{
					CompanyID: company, URL: address, Description: description, EventTypes: events, Headers: set, RateLimit: limit,
					Secret: key, Actor: v.actor(),
				})
				if err != nil {
					return err
				}
				return v.printSecret(made, key)
			})
		},
	}
	flags := cmd.Flags()
	v.egress.define(flags)
	publicURLFlag(flags, &v.publicURL)
	flags.Var(uuidFlag{&company}, "company", "the company that the endpoint belongs to")
	flags.StringVar(&address, "url", "", "where its events are sent: `https://...`")
	flags.StringSliceVar(&events, "events", []string{endpoint.All}, "the event `types` it is told of, or all")
	flags.StringVar(&description, "description", "", "what it is for, in the customer's `words`")
	flags.StringVar(&secret, "secret", "", "its signing secret, `whsec_...` (default: a new one)")
	headers.define(flags)
	flags.Var(rateFlag{&limit}, "rate-limit", fmt.Sprintf("send it at most `N` requests in any second, 1 to %d (default: no limit)", endpoint.MaxRateLimit))
	required(cmd, "company", "url")
	return cmd
}

func required(cmd *cobra.Command, names ...string) {
	for _, name := range names {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // a flag that the same function defines
		}
	}
}

func secretFlag(text string) (sign.Secret, error) {
	if text == "" {
		return sign.Secret{}, nil
	}
	secret, err := sign.ParseSecret(text)
	if err != nil {
		return secret, usage("--secret: %w", err)
	}
	return secret, nil
}

func (v *endpointVerbs) printSecret(e endpoint.Endpoint, secret sign.Secret) error {
	v.say("keep the secret now: it is not shown again")
	t := endpointTable([]endpoint.Endpoint{e})
	t.head = append(t.head, "SECRET")
	t.rows[0] = append(t.rows[0], secret.Reveal())
	return v.print(withSecret{e, secret.Reveal()}, t)
}

func (v *endpointVerbs) list() *cobra.Command {
	var company, after uuid.UUID
	var state, text string
	var limit int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List endpoints in the order of their creation",
		Example: `  surveyhooks endpoints list
  surveyhooks endpoints list --company 01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20 --state disabled -o json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			filter := endpoint.Filter{Scope: endpoint.AnyCompany(), State: endpoint.State(state), Text: text, After: after, Limit: limit}
			if company != uuid.Nil {
				filter.Scope = endpoint.Company(company)
			}
			if state != "" && filter.State != endpoint.Enabled && filter.State != endpoint.Disabled {
				return usage("--state is %q: want enabled or disabled", state)
			}
			if err := checkLimit(limit); err != nil {
				return err
			}
			return v.do(cmd, func(ctx context.Context, store *endpoint.Store) error {
				page, next, err := store.List(ctx, filter)
				if err != nil {
					return err
				}
				if next != uuid.Nil {
					v.say("there are more: go on with --after %s", next)
				}
				return v.print(orEmpty(page), endpointTable(page))
			})
		},
	}
	flags := cmd.Flags()
	flags.Var(uuidFlag{&company}, "company", "only this company's")
	flags.StringVar(&state, "state", "", "only `enabled|disabled` ones")
	flags.StringVar(&text, "text", "", "only those with this `text` in URL, description or id")
	pageFlags(flags, &after, &limit)
	return cmd
}

func pageFlags(flags *pflag.FlagSet, after *uuid.UUID, limit *int) {
	flags.Var(uuidFlag{after}, "after", "go on after this id")
	flags.IntVar(limit, "limit", 50, "at most so many, up to 500")
}

func checkLimit(limit int) error {
	if limit < 1 || limit > 500 {
		return usage("--limit is %d: want 1 to 500", limit)
	}
	return nil
}

// orEmpty keeps an empty list from becoming null.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func endpointTable(list []endpoint.Endpoint) *table {
	t := &table{head: []string{"ID", "COMPANY", "STATE", "SINCE", "EVENTS", "RATE", "HEADERS", "URL"}}
	for _, e := range list {
		state := string(e.State)
		if e.State == endpoint.Disabled {
			state += " (" + string(e.StateReason) + ")"
			if e.StateNote != "" {
				state += ": " + e.StateNote
			}
		}
		t.add(e.ID.String(), e.CompanyID.String(), state, at(e.StateSince), listOrAll(e.Events), orDash(rateFlag{&e.RateLimit}.String()),
			orDash(strings.Join(e.HeaderNames, ",")), wire.MaskQuery(e.URL))
	}
	return t
}

func (v *endpointVerbs) get() *cobra.Command {
	return &cobra.Command{
		Use:   "get ENDPOINT",
		Short: "Show one endpoint",
		Example: `  surveyhooks endpoints get 01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20
  surveyhooks endpoints get 01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20 -o json`,
		Args: exactly("endpoint"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := v.ref(args[0])
			if err != nil {
				return err
			}
			return v.do(cmd, func(ctx context.Context, store *endpoint.Store) error {
				e, err := store.Get(ctx, ref.Scope, ref.ID)
				return v.printEndpoint(e, err)
			})
		},
	}
}

func (v *endpointVerbs) printEndpoint(e endpoint.Endpoint, err error) error {
	if err != nil {
		return err
	}
	return v.print(e, endpointTable([]endpoint.Endpoint{e}))
}

// rateFlag is a flag that holds a number of requests a second; 0 and none mean no limit, which is nil.
type rateFlag struct{ perSecond **int }

var _ pflag.Value = rateFlag{}

// String returns the number, or nothing.
func (f rateFlag) String() string {
	if f.perSecond == nil || *f.perSecond == nil {
		return ""
	}
	return number(**f.perSecond)
}

// Set takes any number: the store knows which are allowed.
func (f rateFlag) Set(text string) error {
	*f.perSecond = nil
	if text == "none" {
		return nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return fmt.Errorf("want a whole number from 1 to %d, or none", endpoint.MaxRateLimit)
	}
	if n != 0 {
		*f.perSecond = &n
	}
	return nil
}

// Type is shown in --help.
func (rateFlag) Type() string { return "N" }
