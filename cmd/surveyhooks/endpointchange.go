package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/chattosurvey/surveyhooks/outbox/wire"
	"github.com/chattosurvey/surveyhooks/relay/endpoint"
	"github.com/chattosurvey/surveyhooks/relay/sign"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// example fills an endpoint's id into the two examples of a verb.
func example(first, second string) string {
	const id = "01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20"
	return fmt.Sprintf("  surveyhooks endpoints %s %s\n  surveyhooks endpoints %s %s", first, id, second, id)
}

// change is a verb that takes an endpoint and nothing else.
func (v *endpointVerbs) change(name, short string, act func(*endpoint.Store, context.Context, endpoint.Ref) (endpoint.Endpoint, error)) *cobra.Command {
	return &cobra.Command{
		Use:     name + " ENDPOINT",
		Short:   short,
		Example: example(name, name+" -o json"),
		Args:    exactly("endpoint"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := v.ref(args[0])
			if err != nil {
				return err
			}
			return v.do(cmd, func(ctx context.Context, store *endpoint.Store) error {
				e, err := act(store, ctx, ref)
				return v.printEndpoint(e, err)
			})
		},
	}
}

func (v *endpointVerbs) update() *cobra.Command {
	var address, description string
	var events []string
	var version int
	var headers headerFlags
	var removed []string
	var limit *int
	cmd := v.change("update", "Change URL, description, events, headers or rate limit; what is not given stays", nil)
	flags := cmd.Flags()
	v.egress.define(flags)
	publicURLFlag(flags, &v.publicURL)
	cmd.Example = example("update --rate-limit 20", "update --header-file headers.txt --remove-header X-Old-Key --if-version 3")
	flags.StringVar(&address, "url", "", "where its events are sent: `https://...`")
	flags.StringVar(&description, "description", "", "what it is for, in the customer's `words`")
	flags.StringSliceVar(&events, "events", nil, "the event `types` it is told of, or all")
	flags.IntVar(&version, "if-version", 0, "refuse when it was changed since this `version` (default: change whatever it is)")
	headers.define(flags)
	flags.StringArrayVar(&removed, "remove-header", nil, "send this header no longer, by its `name`; may be given often")
	flags.Var(rateFlag{&limit}, "rate-limit", fmt.Sprintf("send it at most `N` requests in any second, 1 to %d; 0 or none takes the limit away", endpoint.MaxRateLimit))
	cmd.MarkFlagsOneRequired("url", "description", "events", "header", "header-file", "remove-header", "rate-limit")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ref, err := v.ref(args[0])
		if err != nil {
			return err
		}
		ref.ExpectedVersion = version
		set, err := headers.read(v.stdin)
		if err != nil {
			return err
		}
		change := endpoint.Update{
			Ref: ref, Headers: set, RemoveHeaders: removed,
			RateLimit: limit, RemoveRateLimit: flags.Changed("rate-limit"),
		}
		if flags.Changed("url") {
			change.URL = &address
		}
		if flags.Changed("description") {
			change.Description = &description
		}
		if flags.Changed("events") {
			change.EventTypes = orEmpty(events)
		}
		return v.do(cmd, func(ctx context.Context, store *endpoint.Store) error {
			e, err := store.Update(ctx, change)
			return v.printEndpoint(e, err)
		})
	}
	return cmd
}

func (v *endpointVerbs) disable() *cobra.Command {
	var reason, note string
	cmd := v.change("disable", "Hold its deliveries, and make none for new events",
		func(store *endpoint.Store, ctx context.Context, ref endpoint.Ref) (endpoint.Endpoint, error) {
			switch why := fact.Reason(reason); why {
			case fact.ByRequest, fact.Gone, fact.FailingPersistently:
				return store.Disable(ctx, ref, why, note)
			default:
				return endpoint.Endpoint{}, usage("--reason is %q: want %s, %s or %s", reason, fact.ByRequest, fact.Gone, fact.FailingPersistently)
			}
		})
	cmd.Example = example("disable", `disable --note "moving to the new CRM"`)
	cmd.Flags().StringVar(&reason, "reason", string(fact.ByRequest), "`why`, for programs: by_request, gone or failing_persistently")
	cmd.Flags().StringVar(&note, "note", "", "why, in a few `words`, for whoever finds it disabled")
	return cmd
}

func (v *endpointVerbs) remove() *cobra.Command {
	var yes bool
	cmd := v.change("delete", "Delete it for good: what is still to be sent is cancelled, its secrets and headers are erased", nil)
	cmd.Example = example("delete --yes", "delete --yes -o json")
	cmd.Flags().BoolVar(&yes, "yes", false, "do it; without it nothing is deleted")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ref, err := v.ref(args[0])
		if err != nil {
			return err
		}
		return v.do(cmd, func(ctx context.Context, store *endpoint.Store) error {
			e, err := store.Get(ctx, ref.Scope, ref.ID)
			if err != nil {
				return err
			}
			if !yes {
				return usage("this would delete the endpoint %s (%s) for good: give --yes", e.ID, wire.MaskQuery(e.URL))
			}
			if err := store.Delete(ctx, ref); err != nil {
				return err
			}
			v.say("deleted")
			return v.print(map[string]any{"id": e.ID, "deleted": true}, &table{rows: [][]string{{e.ID.String(), "deleted"}}})
		})
	}
	return cmd
}

func (v *endpointVerbs) rotate() *cobra.Command {
	var secret string
	cmd := v.change("rotate-secret", "Make a new secret and show it, this once; the old one signs beside it for 24 h", nil)
	cmd.Flags().StringVar(&secret, "secret", "", "the new signing secret, `whsec_...` (default: a random one)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ref, err := v.ref(args[0])
		if err != nil {
			return err
		}
		key, err := secretFlag(secret)
		if err != nil {
			return err
		}
		return v.do(cmd, func(ctx context.Context, store *endpoint.Store) error {
			var made sign.Secret
			e, made, err := store.RotateSecret(ctx, ref, key)
			if err != nil {
				return err
			}
			return v.printSecret(e, made)
		})
	}
	return cmd
}
