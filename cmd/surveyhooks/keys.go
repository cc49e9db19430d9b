package main

import (
	"context"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/access"
)

// mintedKey is a key and the one place that shows its token.
type mintedKey struct {
	access.Key

	Token string `json:"token"`
}

func newKeysCommand(a *app) *cobra.Command {
	return group("api-keys", "Make and revoke the keys of the HTTP API",
		`  surveyhooks api-keys create --name survey-app
  surveyhooks api-keys list -o json`, newKeysCreateCommand(a), newKeysListCommand(a), newKeysRevokeCommand(a))
}

func newKeysCreateCommand(a *app) *cobra.Command {
	var k access.NewKey
	var role string
	cmd := &cobra.Command{
		Use:   "create --name NAME [--company UUID]",
		Short: "Make a key and show it, this once",
		Example: `  surveyhooks api-keys create --name survey-app
  surveyhooks api-keys create --name reports --company 01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20 --role viewer --expires 2160h -o json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			k.Role = access.Role(role)
			return a.withAccess(cmd, uuid.Nil, func(ctx context.Context, store *access.Store, by access.Caller) error {
				made, token, err := store.CreateKey(ctx, by, k)
				if err != nil {
					return err
				}
				a.say("keep the key now: it is not shown again")
				t := keyTable([]access.Key{made})
				t.head = append(t.head, "KEY")
				t.rows[0] = append(t.rows[0], token.Reveal())
				return a.print(mintedKey{made, token.Reveal()}, t)
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&k.Name, "name", "", "what it is for, in `words` that the audit trail will show")
	flags.Var(uuidFlag{&k.CompanyID}, "company", "the one company that it reaches (default: every company)")
	flags.StringVar(&role, "role", string(access.Operator), "what it may do: `operator|owner|viewer`")
	flags.DurationVar(&k.Life, "expires", 0, "how long it works, such as 2160h (default: until it is revoked)")
	required(cmd, "name")
	return cmd
}

func newKeysListCommand(a *app) *cobra.Command {
	var company uuid.UUID
	var p access.Page
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List keys in the order of their creation, those that have ended too",
		Example: `  surveyhooks api-keys list
  surveyhooks api-keys list --company 01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20 -o json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkLimit(p.Limit); err != nil {
				return err
			}
			return a.withAccess(cmd, company, func(ctx context.Context, store *access.Store, by access.Caller) error {
				page, next, err := store.Keys(ctx, by, p)
				if err != nil {
					return err
				}
				a.sayMore(next)
				return a.print(page, keyTable(page))
			})
		},
	}
	flags := cmd.Flags()
	flags.Var(uuidFlag{&company}, "company", "only those of this one company")
	pageFlags(flags, &p.After, &p.Limit)
	return cmd
}

func newKeysRevokeCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "revoke KEY",
		Short: "End a key at once",
		Example: `  surveyhooks api-keys revoke 01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20
  surveyhooks api-keys revoke 01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20 -o json`,
		Args: exactly("key"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := uuidArgument("key", args[0])
			if err != nil {
				return err
			}
			return a.withAccess(cmd, uuid.Nil, func(ctx context.Context, store *access.Store, by access.Caller) error {
				if err := store.RevokeKey(ctx, by, id); err != nil {
					return err
				}
				return a.printRevoked(id)
			})
		},
	}
}

func keyTable(list []access.Key) *table {
	t := &table{head: []string{"ID", "NAME", "COMPANY", "ROLE", "CREATED", "EXPIRES", "LAST USED", "REVOKED"}}
	for _, k := range list {
		t.add(k.ID.String(), k.Name, companyOrAll(k.CompanyID), string(k.Role), at(k.CreatedAt),
			atOrNone(k.ExpiresAt), atOrNone(k.LastUsedAt), atOrNone(k.RevokedAt))
	}
	return t
}
