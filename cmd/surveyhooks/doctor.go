package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/operator"
	"github.com/chattosurvey/surveyhooks/relay/endpoint"
	"github.com/chattosurvey/surveyhooks/relay/fleet"
	"github.com/chattosurvey/surveyhooks/relay/seal"
	"github.com/chattosurvey/surveyhooks/schema"
	"github.com/chattosurvey/surveyhooks/schema/retention"
)

// verdict is how a check came out.
type verdict string

const (
	fine verdict = "ok"
	warn verdict = "warn"
	fail verdict = "fail"
)

// finding is one line of the doctor's.
type finding struct {
	Check  string  `json:"check"`
	Status verdict `json:"status"`
	Detail string  `json:"detail"`
	Advice string  `json:"advice"` // what to do; "" when nothing
}

// doctor collects findings. Later checks are left out when an earlier failure makes them meaningless.
type doctor struct {
	db       *sql.DB
	keys     *seal.Ring
	insecure bool // as serve runs
	dev      bool // it is surveyhooks dev's database
	findings []finding
}

func (d *doctor) note(check string, status verdict, detail, advice string) {
	d.findings = append(d.findings, finding{check, status, detail, advice})
}

func newDoctorCommand(a *app) *cobra.Command {
	var insecure bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check database, schema, relays and backlogs, and say what to do; exit 1 when something is broken",
		Example: `  surveyhooks doctor
  surveyhooks doctor --database-url postgres://relay@db/survey -o json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			dsn, err := a.dsn(cmd.Context())
			if err != nil {
				return err
			}
			db, err := openDatabase(dsn)
			if err != nil {
				return err
			}
			defer db.Close()
			keys, err := a.keyring()
			if err != nil {
				return err
			}
			d := &doctor{db: db, keys: keys, insecure: insecure, dev: a.sources["database-url"] == devSource}
			reached := d.examine(cmd.Context(), maskDSN(dsn))
			return a.printFindings(d.findings, reached)
		},
	}
	cmd.Flags().BoolVar(&insecure, "insecure-endpoints", false, "say that serve runs with it: plain http endpoints are then no fault (surveyhooks dev always does)")
	a.sealKeysFlag(cmd.Flags())
	return cmd
}

func (a *app) printFindings(findings []finding, reached bool) error {
	t := &table{head: []string{"STATUS", "CHECK", "DETAIL", "WHAT TO DO"}}
	broken := 0
	for _, f := range findings {
		t.add(string(f.Status), f.Check, f.Detail, f.Advice)
		if f.Status == fail {
			broken++
		}
	}
	if err := a.print(findings, t); err != nil {
		return err
	}
	switch {
	case broken == 0:
		return nil
	case !reached:
		return unavailable("the database cannot be reached")
	default:
		return &exitError{code: exitFailure, err: fmt.Errorf("%d checks failed", broken)}
	}
}

// examine runs every check and reports whether the database was reached at all.
func (d *doctor) examine(ctx context.Context, shown string) bool {
	if err := ping(ctx, d.db); err != nil {
		d.note("database", fail, fmt.Sprintf("%s: %v", shown, err), "start PostgreSQL, or correct --database-url")
		return false
	}
	d.note("database", fine, shown+" answers", "")
	d.switches()
	if !d.server(ctx) || !d.migrations(ctx) {
		return true
	}
	for _, check := range []func(context.Context) error{d.privileges, d.sealing, d.partitions, d.strays, d.sending, d.relays, d.backlogs, d.troubles} {
		if err := check(ctx); err != nil {
			d.note("query", fail, err.Error(), "grant the user the rights on schema webhooks, or look at the server's log")
		}
	}
	return true
}

func (d *doctor) switches() {
	if d.dev {
		d.note("endpoint policy", fine, "surveyhooks dev allows plain http and private addresses, for development alone", "")
		return
	}
	if d.insecure {
		d.note("endpoint policy", warn, "insecure-endpoints is on: plain http and private addresses are allowed",
			"leave --insecure-endpoints and "+twin("insecure-endpoints")+" away in production")
		return
	}
	d.note("endpoint policy", fine, "https and public addresses only", "")
}

func (d *doctor) server(ctx context.Context) bool {
	var number int
	var version string
	var standby bool
	if err := d.db.QueryRowContext(ctx, serverFacts).Scan(&number, &version, &standby); err != nil {
		d.note("version", fail, err.Error(), "look at the server's log")
		return false
	}
	if standby {
		d.note("version", fail, "PostgreSQL "+version+" is a read-only standby", "connect to the primary (target_session_attrs=read-write)")
		return false
	}
	if err := schema.CheckServer(number); err != nil {
		d.note("version", fail, "PostgreSQL "+version, err.Error())
		return false
	}
	d.note("version", fine, "PostgreSQL "+version, "")
	return true
}

func (d *doctor) migrations(ctx context.Context) bool {
	missing, err := missingMigrations(ctx, d.db)
	switch {
	case isForbidden(err):
		d.note("migrations", fail, err.Error(), d.grant(ctx))
	case err != nil:
		d.note("migrations", fail, err.Error(), "look at the server's log")
	case missing > 0:
		d.note("migrations", fail, fmt.Sprintf("%d are missing", missing), "run surveyhooks migrate up")
	default:
		d.note("migrations", fine, "all applied, fingerprint "+schema.Fingerprint(), "")
		return true
	}
	return false
}

// sealing opens everything that is sealed.
func (d *doctor) sealing(ctx context.Context) error {
	report, err := endpoint.Seals(ctx, d.db, d.keys)
	if err != nil {
		return err
	}
	plain, unopened := 0, 0
	for _, count := range report.Keys {
		unopened += count.Unopened
		if count.KeyID == "" {
			plain = count.Secrets
		}
	}
	switch {
	case d.keys.First() == "":
		d.note("keys", warn, "this command was given no keyring, so what is sealed was not opened", "give it the keyring of serve, which does not run without one; surveyhooks keys generate makes one")
	case unopened > 0:
		d.note("keys", fail, fmt.Sprintf("%d secrets or headers cannot be opened, and their endpoints wait: %s", unopened, strings.Join(report.Faults, "; ")), "see surveyhooks keys status")
	case plain > 0:
		d.note("keys", warn, fmt.Sprintf("%d secrets are not sealed", plain), "run surveyhooks keys rotate")
	default:
		d.note("keys", fine, "everything that is sealed opens; "+d.keys.First()+" seals", "")
	}
	return nil
}

func (d *doctor) partitions(ctx context.Context) error {
	ahead, err := daysAhead(ctx, d.db)
	if err != nil {
		return err
	}
	for _, log := range slices.Sorted(maps.Keys(ahead)) {
		if ahead[log] < 1 {
			d.note("partitions "+log, warn, "none for tomorrow; rows will go to the default partition", "start a relay, or run surveyhooks migrate up")
		} else {
			d.note("partitions "+log, fine, fmt.Sprintf("%d days ahead", ahead[log]), "")
		}
	}
	return nil
}

// strays are rows that came when their day had no partition.
func (d *doctor) strays(ctx context.Context) error {
	rows, err := retention.Strays(ctx, d.db)
	if err != nil {
		return err
	}
	for _, log := range []string{"outbox", "journal", "attempts"} {
		if rows[log] > 0 {
			d.note("partitions "+log, warn, fmt.Sprintf("%d rows came when there was no partition for their day", rows[log]),
				"nothing, while a relay runs: they move to their day once it is over")
		}
	}
	return nil
}

// privileges looks whether this login could do more than it has to.
func (d *doctor) privileges(ctx context.Context) error {
	var user string
	var super, owner, relay, tenant bool
	if err := d.db.QueryRowContext(ctx, ownPrivileges).Scan(&user, &super, &owner, &relay, &tenant); err != nil {
		return fmt.Errorf("read privileges: %w", err)
	}
	advice := "run serve with a login of its own: CREATE ROLE … LOGIN IN ROLE webhooks_relay"
	switch {
	case super:
		d.note("privileges", warn, user+" is a superuser", advice)
	case owner:
		d.note("privileges", warn, user+" owns the schema webhooks", advice)
	case !relay:
		d.note("privileges", fail, user+" is no member of webhooks_relay", d.grant(ctx))
	case !tenant:
		d.note("privileges", fail, user+" cannot become webhooks_tenant, which whatever is done for one company needs", "GRANT webhooks_tenant TO webhooks_relay")
	default:
		d.note("privileges", fine, user+" is a member of webhooks_relay, and no more", "")
	}
	return nil
}

// grant is what gives this login its rights, as this server wants it written.
func (d *doctor) grant(ctx context.Context) string {
	statement := "GRANT webhooks_relay TO this login"
	_ = d.db.QueryRowContext(ctx, ownGrant).Scan(&statement) // if it fails, as it stands
	return statement
}

// sending tells what an operator may have forgotten.
func (d *doctor) sending(ctx context.Context) error {
	pause, err := fleet.Paused(ctx, d.db)
	if err != nil {
		return err
	}
	if pause != nil {
		d.note("sending", warn, fmt.Sprintf("paused by %s since %s: %s", pause.By, at(pause.Since), pause.Reason), "run surveyhooks resume when the reason is gone")
		return nil
	}
	d.note("sending", fine, "not paused", "")
	return nil
}

func (d *doctor) relays(ctx context.Context) error {
	var alive, dead, drained int
	if err := d.db.QueryRowContext(ctx, relayLeases).Scan(&alive, &dead, &drained); err != nil {
		return fmt.Errorf("read relays: %w", err)
	}
	switch {
	case alive > 0 && drained == alive:
		d.note("relays", warn, fmt.Sprintf("%d alive, and all of them drained: nothing is sent", alive), "run surveyhooks relays undrain, or start another one")
	case drained > 0:
		d.note("relays", warn, fmt.Sprintf("%d alive, of which %d drained", alive, drained), "stop what was drained, or run surveyhooks relays undrain")
	case alive == 0:
		// Before the first start there is nothing to send yet: doctor is run then, too.
		status := fail
		var empty bool
		if err := d.db.QueryRowContext(ctx, outboxIsEmpty).Scan(&empty); err != nil && !errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("look at outbox: %w", err)
		} else if empty && dead == 0 {
			status = warn
		}
		d.note("relays", status, fmt.Sprintf("none alive, %d silent: nothing is sent", dead), "run surveyhooks serve")
	case dead > 0:
		d.note("relays", warn, fmt.Sprintf("%d alive, %d silent", alive, dead), "nothing, if a relay was just killed: the others take over within a minute")
	default:
		d.note("relays", fine, fmt.Sprintf("%d alive", alive), "")
	}
	return nil
}

// slow is the age from which a backlog is worth a look.
const slow = 60.0

func (d *doctor) backlogs(ctx context.Context) error {
	lags, err := operator.ReadLags(ctx, d.db)
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, l := range lags {
		seen[l.Topic] = true
		name, status, advice := "outbox lag", fine, ""
		if l.Topic == "journal" {
			name = "projection lag"
		}
		if l.OldestAge > slow {
			status, advice = warn, "check that surveyhooks serve runs, and its log"
		}
		d.note(name, status, fmt.Sprintf("%d rows behind, oldest %s", l.Rows, l.Age()), advice)
	}
	if seen["outbox"] {
		return nil
	}
	var empty bool
	if err := d.db.QueryRowContext(ctx, outboxIsEmpty).Scan(&empty); err != nil && !errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("look at outbox: %w", err)
	}
	if !empty {
		d.note("outbox lag", warn, "no relay has ever read the outbox, and there are events in it", "run surveyhooks serve")
	}
	return nil
}

func (d *doctor) troubles(ctx context.Context) error {
	var breakers, quarantined, plain int
	if err := d.db.QueryRowContext(ctx, trouble).Scan(&breakers, &quarantined, &plain); err != nil {
		return fmt.Errorf("count troubles: %w", err)
	}
	if breakers > 0 {
		d.note("breakers", warn, fmt.Sprintf("%d endpoints fail and are probed", breakers), "see surveyhooks attempts list --state failed")
	} else {
		d.note("breakers", fine, "all closed", "")
	}
	if quarantined > 0 {
		d.note("quarantine", warn, fmt.Sprintf("%d log rows could not be handled", quarantined), "read reason in the table webhooks.quarantine")
	} else {
		d.note("quarantine", fine, "empty", "")
	}
	if plain > 0 && !d.insecure && !d.dev {
		d.note("plain endpoints", warn, fmt.Sprintf("%d endpoints have http URLs, which are refused when sending", plain), "change them to https, or delete them")
	}
	return nil
}
