package main

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/access"
)

// withAccess runs a verb with the store of keys, links and sessions. Whoever has the database's password is an operator.
func (a *app) withAccess(cmd *cobra.Command, company uuid.UUID, do func(context.Context, *access.Store, access.Caller) error) error {
	return a.withDB(cmd.Context(), func(ctx context.Context, db *sql.DB) error {
		store, err := access.NewStore(access.Options{DB: db})
		if err != nil {
			return err
		}
		return do(ctx, store, access.Caller{Role: access.Operator, CompanyID: company, Actor: a.actor()})
	})
}

// mintedLink is a link and the one place that shows its token.
type mintedLink struct {
	access.Link

	URL string `json:"url"`
}

func newPortalCommand(a *app) *cobra.Command {
	return group("portal", "Let people in",
		`  surveyhooks portal link --company 01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20 --as ada@example.com
  surveyhooks portal link --operator grace`, newPortalLinkCommand(a))
}

func newPortalLinkCommand(a *app) *cobra.Command {
	var l access.NewLink
	var role, operator, publicURL string
	cmd := &cobra.Command{
		Use:   "link (--company UUID --as NAME | --operator NAME)",
		Short: "Make a link that signs one person in, once, and show it, this once",
		Example: `  surveyhooks portal link --company 01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20 --role viewer --as ada@example.com --ttl 1h
  surveyhooks portal link --operator grace --public-url https://webhooks.example.com`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			base, err := parsePublicURL(publicURL)
			if err != nil {
				return usage("%w", err)
			}
			l.Role = access.Role(role)
			return a.withAccess(cmd, uuid.Nil, func(ctx context.Context, store *access.Store, by access.Caller) error {
				var made access.Link
				var token access.Token
				var err error
				if operator != "" {
					made, token, err = store.MintOperatorLink(ctx, by, operator, l.Life)
				} else {
					made, token, err = store.MintLink(ctx, by, l)
				}
				if err != nil {
					return err
				}
				return a.printLink(cmd, made, access.PortalURL(base.String(), token))
			})
		},
	}
	flags := cmd.Flags()
	flags.Var(uuidFlag{&l.CompanyID}, "company", "the company that the person belongs to")
	flags.StringVar(&role, "role", string(access.Owner), "what the person may do: `owner|viewer`")
	flags.StringVar(&l.Person, "as", "", "the person's `name`, for the audit trail")
	flags.StringVar(&l.Landing, "landing", "/", "the `path` that the link leads to")
	flags.DurationVar(&l.Life, "ttl", 15*time.Minute, "how long the link works, at most 24h")
	flags.StringVar(&operator, "operator", "", "make it for one of us instead, by `name`: every company, and /ops")
	publicURLFlag(flags, &publicURL)
	cmd.MarkFlagsOneRequired("company", "operator")
	cmd.MarkFlagsMutuallyExclusive("company", "operator")
	cmd.MarkFlagsMutuallyExclusive("as", "operator")
	cmd.MarkFlagsMutuallyExclusive("role", "operator")
	cmd.MarkFlagsMutuallyExclusive("landing", "operator")
	return cmd
}

func (a *app) printLink(cmd *cobra.Command, made access.Link, address string) error {
	a.warnOfLocalLinks(cmd)
	a.say("works once, until %s; who has it is taken for %s", at(made.ExpiresAt), oneLine(made.Person))
	return a.print(mintedLink{made, address}, &table{rows: [][]string{{address}}})
}

// warnOfLocalLinks tells that a link leads to this machine, unless somebody said so, or it is surveyhooks dev's.
func (a *app) warnOfLocalLinks(cmd *cobra.Command) {
	if !cmd.Flags().Changed("public-url") && a.sources["database-url"] != devSource {
		a.say("warning: no public URL is set, so the link is one of this machine: give --public-url or %s, as serve has it", twin("public-url"))
	}
}

func newSessionsCommand(a *app) *cobra.Command {
	return group("sessions", "See who is signed in, and sign people out",
		`  surveyhooks sessions list --company 01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20
  surveyhooks sessions revoke --all --yes`, newSessionsListCommand(a), newSessionsRevokeCommand(a), newSessionsTrailCommand(a))
}

func newSessionsListCommand(a *app) *cobra.Command {
	var company uuid.UUID
	var p access.Page
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List who is signed in, in the order of their signing in",
		Example: `  surveyhooks sessions list
  surveyhooks sessions list --company 01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20 -o json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkLimit(p.Limit); err != nil {
				return err
			}
			return a.withAccess(cmd, company, func(ctx context.Context, store *access.Store, by access.Caller) error {
				page, next, err := store.Sessions(ctx, by, p)
				if err != nil {
					return err
				}
				a.sayMore(next)
				t := &table{head: []string{"ID", "COMPANY", "ROLE", "PERSON", "SINCE", "SEEN", "UNTIL"}}
				for _, s := range page {
					t.add(s.ID.String(), companyOrAll(s.CompanyID), string(s.Role), s.Person, at(s.CreatedAt), at(s.SeenAt), at(s.ExpiresAt))
				}
				return a.print(page, t)
			})
		},
	}
	flags := cmd.Flags()
	flags.Var(uuidFlag{&company}, "company", "only this company's")
	pageFlags(flags, &p.After, &p.Limit)
	return cmd
}

func newSessionsRevokeCommand(a *app) *cobra.Command {
	var company uuid.UUID
	var all, yes bool
	cmd := &cobra.Command{
		Use:   "revoke (SESSION | --company UUID --yes | --all --yes)",
		Short: "Sign people out at once; of a company or of all, with every link that is still unused",
		Example: `  surveyhooks sessions revoke 01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20
  surveyhooks sessions revoke --company 01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20 --yes`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			many := all || company != uuid.Nil
			switch {
			case many == (len(args) == 1) || all && company != uuid.Nil:
				return usage("name one session, or give --company UUID, or --all")
			case many && !yes:
				return usage("this would sign out everybody%s: give --yes", ofCompany(company))
			case many:
				return a.withAccess(cmd, company, func(ctx context.Context, store *access.Store, by access.Caller) error {
					sessions, links, err := store.RevokeSessions(ctx, by)
					if err != nil {
						return err
					}
					return a.print(map[string]int{"sessions": sessions, "links": links},
						&table{rows: [][]string{{fmt.Sprintf("%d sessions and %d unused links revoked", sessions, links)}}})
				})
			}
			id, err := uuidArgument("session", args[0])
			if err != nil {
				return err
			}
			return a.withAccess(cmd, uuid.Nil, func(ctx context.Context, store *access.Store, by access.Caller) error {
				if err := store.RevokeSession(ctx, by, id); err != nil {
					return err
				}
				return a.printRevoked(id)
			})
		},
	}
	flags := cmd.Flags()
	flags.Var(uuidFlag{&company}, "company", "everybody of this company")
	flags.BoolVar(&all, "all", false, "everybody, operators too")
	flags.BoolVar(&yes, "yes", false, "do it; without it --company and --all revoke nothing")
	return cmd
}

func newSessionsTrailCommand(a *app) *cobra.Command {
	var company uuid.UUID
	var p access.TrailPage
	cmd := &cobra.Command{
		Use:   "trail",
		Short: "Show who made, used and ended which key, link or session, newest first",
		Example: `  surveyhooks sessions trail
  surveyhooks sessions trail --company 01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20 -o json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkLimit(p.Limit); err != nil {
				return err
			}
			return a.withAccess(cmd, company, func(ctx context.Context, store *access.Store, by access.Caller) error {
				page, next, err := store.Trail(ctx, by, p)
				if err != nil {
					return err
				}
				if next != 0 {
					a.say("there are more: go on with --before %d", next)
				}
				t := &table{head: []string{"AT", "ACTION", "SUBJECT", "COMPANY", "ACTOR", "IP", "DETAIL"}}
				for _, e := range page {
					t.add(at(e.HappenedAt), e.Action, e.SubjectID.String(), companyOrAll(e.CompanyID), e.Actor, orDash(e.IP), string(e.Detail))
				}
				return a.print(page, t)
			})
		},
	}
	flags := cmd.Flags()
	flags.Var(uuidFlag{&company}, "company", "only this company's")
	flags.Int64Var(&p.Before, "before", 0, "go on before this `position`")
	flags.IntVar(&p.Limit, "limit", 50, "at most so many, up to 500")
	return cmd
}

func companyOrAll(id *uuid.UUID) string {
	if id == nil {
		return "all"
	}
	return id.String()
}

func ofCompany(id uuid.UUID) string {
	if id == uuid.Nil {
		return ""
	}
	return " of company " + id.String()
}

// sayMore says how to go on after a page that is not the last.
func (a *app) sayMore(next uuid.UUID) {
	if next != uuid.Nil {
		a.say("there are more: go on with --after %s", next)
	}
}

func (a *app) printRevoked(id uuid.UUID) error {
	return a.print(map[string]any{"id": id, "revoked": true}, &table{rows: [][]string{{id.String(), "revoked"}}})
}
