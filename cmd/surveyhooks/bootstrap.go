package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/access"
	"github.com/chattosurvey/surveyhooks/relay/endpoint"
	"github.com/chattosurvey/surveyhooks/relay/seal"
	"github.com/chattosurvey/surveyhooks/schema"
)

// noLogin is the value of --relay-login that makes none.
const noLogin = "none"

// bootstrap makes what serve needs of a database, step by step; each one looks first whether it was done.
type bootstrap struct {
	*app

	folder, relay, survey string

	db    *sql.DB
	steps []bootstrapStep
}

// bootstrapStep is one line of its report. No line holds a secret: those are in the files alone.
type bootstrapStep struct {
	Step    string `json:"step"`
	Outcome string `json:"outcome"` // made, or kept: it was there
	Detail  string `json:"detail"`
}

func newBootstrapCommand(a *app) *cobra.Command {
	b := &bootstrap{app: a}
	cmd := &cobra.Command{
		Use:   "bootstrap --to FOLDER --database-url DSN",
		Short: "Prepare a database for serve: schema, keyring, the relay's login, a first API key",
		Long: `Prepares a database, as its owner, and puts what serve needs into a folder that its owner alone can read:

  seal-keys      the keyring that secrets are sealed with; keep a copy where the database's backups are not
  database-url   how serve connects: as a login of its own, with the rights of webhooks_relay and no more
  api-key        a first key of the HTTP API, for all companies

It prints no secret. What is there already is kept, and nothing is replaced: it may be broken off and run again, and each
step can be done by hand instead, with migrate up, keys generate, CREATE ROLE and api-keys create.`,
		Example: `  surveyhooks bootstrap --to /etc/surveyhooks --database-url postgres://owner@db/survey --app-login survey_app
  surveyhooks bootstrap --to . --database-url postgres://owner@db/survey --relay-login none -o json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := b.check(); err != nil {
				return err
			}
			return a.withDB(cmd.Context(), func(ctx context.Context, db *sql.DB) error {
				b.db = db
				return b.run(ctx)
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&b.folder, "to", "", "the `folder` for keyring, DSN and API key; made when it is not there")
	flags.StringVar(&b.relay, "relay-login", devRelay, "the `name` of serve's login; none makes no login, and no database-url")
	flags.StringVar(&b.survey, "app-login", "", "the `name` of the survey app's login, which is there: it is to publish, and to read the views (default: granted by hand)")
	required(cmd, "to")
	return cmd
}

func (b *bootstrap) check() error {
	if b.databaseURL == "" {
		return usage("--database-url is not given: want the DSN of the survey app's database, as its owner; surveyhooks dev and surveyhooks pg ensure prepare theirs by themselves")
	}
	for flag, name := range map[string]string{"relay-login": b.relay, "app-login": b.survey} {
		if name != "" && !regexp.MustCompile(`^[a-z_][a-z0-9_]{0,62}$`).MatchString(name) || name == "" && flag == "relay-login" {
			return usage("--%s is %q: want 1 to 63 of a-z 0-9 _ such as %s, not beginning with a digit", flag, name, devRelay)
		}
	}
	return nil
}

// run does the steps in an order in which each one needs those before it, and what may be refused comes first.
func (b *bootstrap) run(ctx context.Context) error {
	folder, err := filepath.Abs(b.folder)
	if err == nil {
		err = os.MkdirAll(folder, 0o700)
	}
	if err != nil {
		return usage("--to: %w", err)
	}
	b.folder = folder // so that what it prints works anywhere
	for _, step := range []func(context.Context) error{b.findApp, b.migrateUp, b.keys, b.login, b.grantApp, b.apiKey} {
		if err := step(ctx); err != nil {
			for _, s := range b.steps { // they stand
				b.say("%s: %s (%s)", s.Step, s.Outcome, s.Detail)
			}
			return err
		}
	}
	t := &table{head: []string{"STEP", "OUTCOME", "DETAIL"}}
	for _, s := range b.steps {
		t.add(s.Step, s.Outcome, s.Detail)
	}
	if err := b.print(b.steps, t); err != nil {
		return err
	}
	b.next()
	return nil
}

func (b *bootstrap) file(name string) string { return filepath.Join(b.folder, name) }

// did notes a step.
func (b *bootstrap) did(step string, made bool, detail string) {
	outcome := "kept"
	if made {
		outcome = "made"
	}
	b.steps = append(b.steps, bootstrapStep{step, outcome, detail})
}

// findApp refuses a login that is not there before anything is changed.
func (b *bootstrap) findApp(ctx context.Context) error {
	if b.survey == "" {
		return nil
	}
	found, err := b.hasLogin(ctx, b.survey)
	if err == nil && !found {
		return notFound("there is no login %s: --app-login is the one that the survey app has already", b.survey)
	}
	return err
}

func (b *bootstrap) migrateUp(ctx context.Context) error {
	missing, err := missingMigrations(ctx, b.db)
	if err != nil {
		return err
	}
	if err := schema.Migrate(ctx, b.db); err != nil {
		return err
	}
	detail := "up to date"
	if missing > 0 {
		detail = fmt.Sprintf("%d migrations applied", missing)
	}
	b.did("schema", missing > 0, detail+", fingerprint "+schema.Fingerprint())
	return nil
}

// keys makes the keyring, unless the database holds what another one has sealed.
func (b *bootstrap) keys(ctx context.Context) error {
	file := b.file(sealKeys)
	content, err := os.ReadFile(file)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return usage("read keyring: %w", err)
	}
	ring, err := seal.ParseRing(string(content))
	if err != nil {
		return usage("read keyring (%s): %w", file, err)
	}
	faults, err := endpoint.CheckKeys(ctx, b.db, ring)
	if err != nil {
		return err
	}
	if len(faults) > 0 {
		return fmt.Errorf("this database holds secrets that %s does not open (%w): put the keyring there that has sealed them", file, errors.Join(faults...))
	}
	if missing {
		key, err := seal.NewKey(newKeyID(time.Now()))
		if err != nil {
			return err
		}
		if err := writeNew(file, key.Reveal()+"\n"); err != nil {
			return err
		}
	} else if ring.First() == "" {
		return usage("read keyring (%s): it holds no key: remove it, or put a keyring there", file)
	}
	b.did("keyring", missing, file)
	return nil
}

func (b *bootstrap) grantApp(ctx context.Context) error {
	if b.survey == "" {
		return nil
	}
	granted, err := b.grant(ctx, "webhooks_app", b.survey)
	if err == nil {
		b.did("app login", granted, b.survey+" is a member of webhooks_app")
	}
	return err
}

// apiKey makes a key when there is no file with one.
func (b *bootstrap) apiKey(ctx context.Context) error {
	file := b.file("api-key")
	_, err := os.Stat(file)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return usage("read API key: %w", err)
	}
	if missing {
		store, err := access.NewStore(access.Options{DB: b.db})
		if err != nil {
			return err
		}
		by := access.Caller{Role: access.Operator, CompanyID: uuid.Nil, Actor: b.actor()}
		made, token, err := store.CreateKey(ctx, by, access.NewKey{Name: "bootstrap", Role: access.Operator})
		if err != nil {
			return err
		}
		if err := writeNew(file, token.Reveal()+"\n"); err != nil {
			return errors.Join(err, store.RevokeKey(ctx, by, made.ID)) // nobody has seen it
		}
	}
	b.did("api key", missing, file)
	return nil
}

// next says how to go on.
func (b *bootstrap) next() {
	b.say("\nNext:")
	set := fmt.Sprintf("%s=%s %s=%s", twin(sealKeys)+fileSuffix, b.file(sealKeys), twin("api-key")+fileSuffix, b.file("api-key"))
	if b.relay != noLogin {
		set = fmt.Sprintf("%s=%s ", twin("database-url")+fileSuffix, b.file("database-url")) + set
		if b.sources["database-url"] == twin("database-url") {
			b.say("  unset %s", twin("database-url"))
		}
	}
	b.say("  export %s", set)
	b.say("  surveyhooks doctor")
	b.say("  surveyhooks serve --public-url https://webhooks.example.com")
	b.say("  surveyhooks open --public-url https://webhooks.example.com")
	if b.survey == "" {
		b.say("and let the survey app publish: GRANT webhooks_app TO its login.")
	}
	b.say("Keep a copy of %s where the database's backups are not.", b.file(sealKeys))
}
