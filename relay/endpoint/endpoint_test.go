package endpoint_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/relay/egress"
	"github.com/chattosurvey/surveyhooks/relay/endpoint"
	"github.com/chattosurvey/surveyhooks/relay/relaytest"
	"github.com/chattosurvey/surveyhooks/relay/seal"
	"github.com/chattosurvey/surveyhooks/relay/sign"
	"github.com/chattosurvey/surveyhooks/schema/fact"
	"github.com/chattosurvey/surveyhooks/schema/schematest"
)

type testBundle struct {
	db      *schematest.DB
	store   *endpoint.Store
	keys    *seal.Ring
	company uuid.UUID
}

func setup(t *testing.T) testBundle {
	t.Helper()

	db := schematest.New(t)
	keys := relaytest.Keys(t)
	store, err := endpoint.New(endpoint.Options{DB: db.DB, Keys: keys})
	require.NoError(t, err)
	return testBundle{db: db, store: store, keys: keys, company: uuid.New()}
}

func (b testBundle) create(t *testing.T, url string, types ...string) (endpoint.Endpoint, sign.Secret) {
	t.Helper()

	e, secret, err := b.store.Create(t.Context(), endpoint.Create{
		CompanyID: b.company, URL: url, Description: "CRM", EventTypes: types, Actor: "ada@example.com",
	})
	require.NoError(t, err)
	return e, secret
}

func (b testBundle) ref(e endpoint.Endpoint) endpoint.Ref {
	return endpoint.Ref{Scope: endpoint.Company(e.CompanyID), ID: e.ID, Actor: "bob@example.com"}
}

// at is the same for a change that is meant for a version.
func (b testBundle) at(e endpoint.Endpoint, version int) endpoint.Ref {
	ref := b.ref(e)
	ref.ExpectedVersion = version
	return ref
}

type journalRow struct {
	name    fact.Name
	company uuid.UUID
	body    string
}

func (b testBundle) journal(t *testing.T) []journalRow {
	t.Helper()

	rows, err := b.db.QueryContext(t.Context(), `SELECT fact, company_id, data FROM webhooks.journal ORDER BY position`)
	require.NoError(t, err)
	defer func() { _ = rows.Close() }()
	var list []journalRow
	for rows.Next() {
		var r journalRow
		require.NoError(t, rows.Scan(&r.name, &r.company, &r.body))
		list = append(list, r)
	}
	require.NoError(t, rows.Err())
	return list
}

// last is the newest fact, which must have this name.
func (b testBundle) last(t *testing.T, name fact.Name) fact.Endpoint {
	t.Helper()

	list := b.journal(t)
	require.NotEmpty(t, list)
	row := list[len(list)-1]
	require.Equal(t, name, row.name)
	require.Equal(t, b.company, row.company)
	return decode[fact.Endpoint](t, row.body)
}

func decode[T any](t *testing.T, body string) T {
	t.Helper()

	var v T
	decoder := json.NewDecoder(strings.NewReader(body))
	decoder.DisallowUnknownFields()
	require.NoError(t, decoder.Decode(&v))
	return v
}

func (b testBundle) exec(t *testing.T, query string, args ...any) {
	t.Helper()

	_, err := b.db.ExecContext(t.Context(), query, args...)
	require.NoError(t, err)
}

func (b testBundle) count(t *testing.T, query string, args ...any) int {
	t.Helper()

	var n int
	require.NoError(t, b.db.QueryRowContext(t.Context(), query, args...).Scan(&n))
	return n
}

func (b testBundle) load(t *testing.T, ids ...uuid.UUID) []endpoint.Config {
	t.Helper()

	configs, err := endpoint.Load(t.Context(), b.db.DB, b.keys, ids)
	require.NoError(t, err)
	return configs
}

func reveal(secrets []sign.Secret) []string {
	list := make([]string, len(secrets))
	for i, s := range secrets {
		list[i] = s.Reveal()
	}
	return list
}

func TestCreate(t *testing.T) {
	t.Parallel()

	t.Run("MakesEndpointSecretLaneAndFact", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		e, secret := b.create(t, "HTTPS://Example.com:443", "test.webhook", "conversation.started", "test.webhook")
		require.Equal(t, "https://example.com/", e.URL, "canonical")
		require.Equal(t, []string{"conversation.started", "test.webhook"}, e.Events, "catalogue order, once")
		require.Equal(t, endpoint.Enabled, e.State)
		require.Equal(t, 1, e.Version)
		require.Equal(t, "ada@example.com", e.StateActor)
		require.WithinDuration(t, time.Now(), e.CreatedAt, time.Minute)

		got, err := b.store.Get(t.Context(), endpoint.Company(b.company), e.ID)
		require.NoError(t, err)
		require.Equal(t, e, got)
		configs := b.load(t, e.ID, uuid.New())
		require.Len(t, configs, 1)
		require.Equal(t, []string{secret.Reveal()}, reveal(configs[0].Secrets))
		require.Zero(t, configs[0].SecretsUntil)
		require.Equal(t, 1, b.count(t, `SELECT count(*) FROM webhooks.lanes WHERE endpoint_id = $1`, e.ID))
		require.Equal(t, fact.Endpoint{
			EndpointID: e.ID, Version: 1, Actor: "ada@example.com", Reason: fact.ByRequest,
			New: &fact.EndpointConfig{URL: e.URL, Description: "CRM", EventTypes: e.Events, State: "enabled"},
		}, b.last(t, fact.EndpointCreated))
	})

	t.Run("NoTypesOrAllAloneMeansAll", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		one, _ := b.create(t, "https://example.com/1")
		two, _ := b.create(t, "https://example.com/2", "all")
		require.Equal(t, []string{"all"}, one.Events)
		require.Equal(t, []string{"all"}, two.Events)
		require.Equal(t, 2, b.count(t, `SELECT count(*) FROM webhooks.endpoints WHERE event_types IS NULL`))
		require.Nil(t, b.last(t, fact.EndpointCreated).New.EventTypes)
	})

	t.Run("KeepsAGivenSecret", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		given := sign.NewSecret()
		e, secret, err := b.store.Create(t.Context(), endpoint.Create{
			CompanyID: b.company, URL: "https://example.com", Secret: given, Actor: "cli",
		})
		require.NoError(t, err)
		require.Equal(t, given.Reveal(), secret.Reveal())
		require.Equal(t, []string{given.Reveal()}, reveal(b.load(t, e.ID)[0].Secrets))
	})

	t.Run("NamesEveryFaultAtOnceAndWritesNothing", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		_, _, err := b.store.Create(t.Context(), endpoint.Create{
			URL: "http://example.com", Description: strings.Repeat("é", 501), EventTypes: []string{"conversation.began"},
		})
		var invalid *endpoint.InvalidError
		require.ErrorAs(t, err, &invalid)
		codes := map[string]string{}
		for _, f := range invalid.Fields {
			codes[f.Field] = f.Code
		}
		require.Equal(t, map[string]string{
			"company_id": "required", "url": "https_required", "description": "too_long", "events": "unknown_event", "actor": "required",
		}, codes)
		require.ErrorContains(t, err, "conversation.started, conversation.completed")
		var one endpoint.FieldError
		require.ErrorAs(t, err, &one)
		require.Empty(t, b.journal(t))
	})

	for name, c := range map[string]struct {
		with endpoint.Create
		code string
	}{
		"AllWithOthers": {endpoint.Create{EventTypes: []string{"all", "test.webhook"}}, "all_with_others"},
		"NUL":           {endpoint.Create{Description: "a\x00b"}, "invalid_text"},
		"NotUTF8":       {endpoint.Create{Description: "\xff"}, "invalid_text"},
		"PrivateHost":   {endpoint.Create{URL: "https://10.0.0.1/"}, "host_forbidden"},
	} {
		t.Run("Refuses"+name, func(t *testing.T) {
			t.Parallel()
			store, err := endpoint.New(endpoint.Options{DB: new(sql.DB)})
			require.NoError(t, err)
			c.with.CompanyID, c.with.Actor = uuid.New(), "ada"
			if c.with.URL == "" {
				c.with.URL = "https://example.com"
			}
			_, _, err = store.Create(t.Context(), c.with)
			var invalid *endpoint.InvalidError
			require.ErrorAs(t, err, &invalid)
			require.Len(t, invalid.Fields, 1)
			require.Equal(t, c.code, invalid.Fields[0].Code)
		})
	}

	t.Run("B22_RefusesAURLTwiceUntilTheFirstIsDeleted", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		first, _ := b.create(t, "https://example.com/hooks")
		again := endpoint.Create{CompanyID: b.company, URL: "https://EXAMPLE.com/hooks", Actor: "ada"}
		_, _, err := b.store.Create(t.Context(), again)
		requireCode(t, err, "url_taken")

		other := again
		other.CompanyID = uuid.New()
		_, _, err = b.store.Create(t.Context(), other)
		require.NoError(t, err, "another company may have it")
		require.NoError(t, b.store.Delete(t.Context(), b.ref(first)))
		_, _, err = b.store.Create(t.Context(), again)
		require.NoError(t, err)
	})

	t.Run("B22_OfManyAtOnceWithOneURLOneWins", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		results := make(chan error)
		for range 4 {
			go func() {
				_, _, err := b.store.Create(context.WithoutCancel(t.Context()), endpoint.Create{
					CompanyID: b.company, URL: "https://example.com", Actor: "ada",
				})
				results <- err
			}()
		}
		won := 0
		for range 4 {
			if err := <-results; err == nil {
				won++
			} else {
				requireCode(t, err, "url_taken")
			}
		}
		require.Equal(t, 1, won)
	})
}

func requireCode(t *testing.T, err error, code string) {
	t.Helper()

	var invalid *endpoint.InvalidError
	require.ErrorAs(t, err, &invalid)
	require.Equal(t, code, invalid.Fields[0].Code)
}

func TestUpdate(t *testing.T) {
	t.Parallel()

	t.Run("ChangesWhatIsGivenWithOldAndNewValue", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		e, _ := b.create(t, "https://example.com/a")
		url, description := "https://example.com/b", "ERP"
		now, err := b.store.Update(t.Context(), endpoint.Update{Ref: b.at(e, 1), URL: &url})
		require.NoError(t, err)
		require.Equal(t, url, now.URL)
		require.Equal(t, "CRM", now.Description)
		require.Equal(t, 2, now.Version)
		f := b.last(t, fact.EndpointUpdated)
		require.Equal(t, "bob@example.com", f.Actor)
		require.Equal(t, 2, f.Version)
		require.Equal(t, "https://example.com/a", f.Old.URL)
		require.Equal(t, "https://example.com/b", f.New.URL)

		now, err = b.store.Update(t.Context(), endpoint.Update{
			Ref: b.ref(e), Description: &description, EventTypes: []string{"test.webhook"},
		})
		require.NoError(t, err)
		require.Equal(t, "ERP", now.Description)
		require.Equal(t, []string{"test.webhook"}, now.Events)
		now, err = b.store.Update(t.Context(), endpoint.Update{Ref: b.ref(e), EventTypes: []string{}})
		require.NoError(t, err)
		require.Equal(t, []string{"all"}, now.Events)
		require.Equal(t, 4, now.Version)
	})

	t.Run("OfNothingMakesNoVersionAndNoFact", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		e, _ := b.create(t, "https://example.com/a")
		now, err := b.store.Update(t.Context(), endpoint.Update{Ref: b.ref(e), URL: &e.URL, EventTypes: e.Events})
		require.NoError(t, err)
		require.Equal(t, e, now)
		require.Len(t, b.journal(t), 1)
	})

	t.Run("B58_OfAnOlderVersionIsAConflict", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		e, _ := b.create(t, "https://example.com/a")
		one, two := "one", "two"
		_, err := b.store.Update(t.Context(), endpoint.Update{Ref: b.at(e, e.Version), Description: &one})
		require.NoError(t, err)
		_, err = b.store.Update(t.Context(), endpoint.Update{Ref: b.at(e, e.Version), Description: &two})
		var conflict *endpoint.ConflictError
		require.ErrorAs(t, err, &conflict)
		require.Equal(t, endpoint.ConflictError{ID: e.ID, Expected: 1, Actual: 2}, *conflict)
		for name, change := range map[string]func() error{
			"Enable":  func() error { _, err := b.store.Enable(t.Context(), b.at(e, 1)); return err },
			"Disable": func() error { _, err := b.store.Disable(t.Context(), b.at(e, 1), "", ""); return err },
			"Rotate":  func() error { _, _, err := b.store.RotateSecret(t.Context(), b.at(e, 1), sign.Secret{}); return err },
			"Delete":  func() error { return b.store.Delete(t.Context(), b.at(e, 1)) },
		} {
			require.ErrorAs(t, change(), &conflict, name)
		}
		require.Len(t, b.journal(t), 2)
	})

	t.Run("ToTheURLOfAnotherIsRefused", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		a, _ := b.create(t, "https://example.com/a")
		other, _ := b.create(t, "https://example.com/b")
		_, err := b.store.Update(t.Context(), endpoint.Update{Ref: b.ref(a), URL: &other.URL})
		requireCode(t, err, "url_taken")
	})
}

// TestACompanyHasSoManyEndpoints: the fan-out, which all companies wait for, decides about each of them for every event.
func TestACompanyHasSoManyEndpoints(t *testing.T) {
	t.Parallel()

	b := setup(t)
	e, _ := b.create(t, "https://example.com/first")
	_, err := b.db.ExecContext(t.Context(), `INSERT INTO webhooks.endpoints (company_id, url, state_actor)
SELECT $1, 'https://example.com/' || n, 'ada' FROM generate_series(2, 1000) n`, b.company)
	require.NoError(t, err)
	one := endpoint.Create{CompanyID: b.company, URL: "https://example.com/one-more", Actor: "ada"}
	_, _, err = b.store.Create(t.Context(), one)
	requireCode(t, err, "too_many_endpoints")
	require.ErrorContains(t, err, "at most 1000")
	require.NoError(t, b.store.Delete(t.Context(), b.ref(e)))
	_, _, err = b.store.Create(t.Context(), one)
	require.NoError(t, err, "those that were deleted do not count")
	one.CompanyID = uuid.New()
	_, _, err = b.store.Create(t.Context(), one)
	require.NoError(t, err, "nor those of others")
}

func TestEnableAndDisable(t *testing.T) {
	t.Parallel()

	b := setup(t)
	e, _ := b.create(t, "https://example.com/a")
	b.exec(t, `UPDATE webhooks.lanes SET breaker = 'open', not_before = now() + interval '1 day', failing_since = now()`)
	off, err := b.store.Disable(t.Context(), b.ref(e), "", "  Moving to the new CRM. ")
	require.NoError(t, err)
	require.Equal(t, endpoint.Disabled, off.State)
	require.Equal(t, "Moving to the new CRM.", off.StateNote)
	require.Equal(t, off.StateNote, b.last(t, fact.EndpointDisabled).Note)
	require.Equal(t, fact.ByRequest, off.StateReason)
	require.Equal(t, "bob@example.com", off.StateActor)
	require.True(t, off.StateSince.After(e.StateSince))
	f := b.last(t, fact.EndpointDisabled)
	require.Equal(t, "enabled", f.Old.State)
	require.Equal(t, "disabled", f.New.State)
	require.Equal(t, endpoint.Disabled, b.load(t, e.ID)[0].State)

	again, err := b.store.Disable(t.Context(), b.ref(e), fact.FailingPersistently, "another")
	require.NoError(t, err)
	require.Equal(t, off, again, "disabling twice keeps the first reason and note")

	on, err := b.store.Enable(t.Context(), b.ref(e))
	require.NoError(t, err)
	require.Equal(t, endpoint.Enabled, on.State)
	require.Empty(t, on.StateNote, "it said why it was disabled")
	require.Empty(t, b.last(t, fact.EndpointEnabled).Note)
	require.Equal(t, 3, on.Version)
	require.Equal(t, "enabled", b.last(t, fact.EndpointEnabled).New.State)
	require.Equal(t, 1, b.count(t, `SELECT count(*) FROM webhooks.lanes
		WHERE breaker = 'closed' AND not_before IS NULL AND failing_since IS NULL`), "it starts afresh")
	require.Len(t, b.journal(t), 3)
}

func TestDisableByRelayNeverUndoesAChoice(t *testing.T) {
	t.Parallel()

	b := setup(t)
	e, _ := b.create(t, "https://example.com/a")
	disable := func(version int) bool {
		tx, err := b.db.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		defer func() { _ = tx.Rollback() }()
		changed, err := endpoint.DisableByRelay(t.Context(), tx, e.ID, version, fact.Gone)
		require.NoError(t, err)
		require.NoError(t, tx.Commit())
		return changed
	}
	require.False(t, disable(e.Version-1), "it was changed since the attempt began")
	require.True(t, disable(e.Version))
	now, err := b.store.Get(t.Context(), endpoint.AnyCompany(), e.ID)
	require.NoError(t, err)
	require.Equal(t, fact.Gone, now.StateReason)
	require.Equal(t, "relay", now.StateActor)
	f := b.last(t, fact.EndpointDisabled)
	require.Equal(t, "relay", f.Actor)
	require.Equal(t, fact.Gone, f.Reason)
	require.Equal(t, "enabled", f.Old.State)
	require.Equal(t, "disabled", f.New.State)

	require.False(t, disable(now.Version))
	require.Len(t, b.journal(t), 2)
	require.NoError(t, b.store.Delete(t.Context(), b.ref(e)))
	require.False(t, disable(now.Version+1))
}

func TestDeleteCancelsWhatIsPending(t *testing.T) {
	t.Parallel()

	b := setup(t)
	e, _ := b.create(t, "https://example.com/a")
	kept, _ := b.create(t, "https://example.com/b")
	event := uuid.New()
	b.exec(t, `INSERT INTO webhooks.pending (endpoint_id, delivery_id, event_id, generation)
		VALUES ($1, 7, $3, 2), ($1, 8, $3, 1), ($2, 9, $3, 1)`, e.ID, kept.ID, event)
	require.NoError(t, b.store.Delete(t.Context(), b.ref(e)))

	require.Equal(t, 1, b.count(t, `SELECT count(*) FROM webhooks.pending`))
	require.Zero(t, b.count(t, `SELECT count(*) FROM webhooks.endpoint_secrets WHERE endpoint_id = $1`, e.ID))
	require.Empty(t, b.load(t, e.ID))
	list := b.journal(t)
	require.Len(t, list, 5)
	require.Equal(t, fact.EndpointDeleted, list[2].name)
	deleted := decode[fact.Endpoint](t, list[2].body)
	require.Equal(t, 2, deleted.Version)
	require.Equal(t, e.URL, deleted.Old.URL)
	require.Nil(t, deleted.New)
	want := fact.Delivery{
		DeliveryID: 7, EndpointID: e.ID, EventID: event, Generation: 2, State: fact.Cancelled,
		Actor: "bob@example.com", Reason: fact.EndpointGoneForGood,
	}
	require.Equal(t, fact.DeliveryCancelled, list[3].name)
	require.Equal(t, b.company, list[3].company)
	require.Equal(t, want, decode[fact.Delivery](t, list[3].body))
	want.DeliveryID, want.Generation = 8, 1
	require.Equal(t, want, decode[fact.Delivery](t, list[4].body))

	var missing *endpoint.NotFoundError
	require.ErrorAs(t, b.store.Delete(t.Context(), b.ref(e)), &missing)

	// What a fan-out commits for it afterwards is not lost sight of.
	b.exec(t, `INSERT INTO webhooks.pending (endpoint_id, delivery_id, event_id) VALUES ($1, 10, $2)`, e.ID, event)
	n, err := endpoint.CancelStranded(t.Context(), b.db.DB)
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
	list = b.journal(t)
	require.Len(t, list, 6)
	require.Equal(t, "relay", decode[fact.Delivery](t, list[5].body).Actor)
	require.Equal(t, 1, b.count(t, `SELECT count(*) FROM webhooks.pending`))
}

func TestDeleteOutlivesADeadlockWithTheRecorder(t *testing.T) {
	t.Parallel()

	b := setup(t)
	e, _ := b.create(t, "https://example.com/a")
	b.exec(t, `INSERT INTO webhooks.pending (endpoint_id, delivery_id, event_id) VALUES ($1, 7, $2)`, e.ID, uuid.New())
	recorder, err := b.db.Owner.BeginTx(t.Context(), nil) // who may set this
	require.NoError(t, err)
	defer func() { _ = recorder.Rollback() }()
	_, err = recorder.ExecContext(t.Context(), `SET LOCAL deadlock_timeout = '5s'`)
	require.NoError(t, err)
	_, err = recorder.ExecContext(t.Context(), `UPDATE webhooks.pending SET started = 1`)
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- b.store.Delete(context.WithoutCancel(t.Context()), b.ref(e)) }()
	for b.count(t, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'transactionid'`) == 0 {
		runtime.Gosched()
	}
	// PostgreSQL lets whoever looks first give way. That is Delete, unless the machine is so slow that it looked before
	// there was a deadlock; then it is the recorder, which repeats its commit anyway. Delete ends well in either case.
	if _, err = endpoint.DisableByRelay(t.Context(), recorder, e.ID, e.Version, fact.Gone); err != nil {
		require.ErrorContains(t, err, "40P01")
		require.NoError(t, recorder.Rollback())
	} else {
		require.NoError(t, recorder.Commit())
	}
	require.NoError(t, <-done)
	require.Zero(t, b.count(t, `SELECT count(*) FROM webhooks.pending`))
}

func TestRotateSecret(t *testing.T) {
	t.Parallel()

	b := setup(t)
	e, first := b.create(t, "https://example.com/a")
	now, second, err := b.store.RotateSecret(t.Context(), b.ref(e), sign.Secret{})
	require.NoError(t, err)
	require.Equal(t, 2, now.Version)
	require.NotEqual(t, first.Reveal(), second.Reveal())
	c := b.load(t, e.ID)[0]
	require.Equal(t, []string{second.Reveal(), first.Reveal()}, reveal(c.Secrets), "newest first")
	require.WithinDuration(t, time.Now().Add(24*time.Hour), c.SecretsUntil, time.Minute)
	require.Equal(t, 2, b.last(t, fact.EndpointSecretRotated).Version)

	third := sign.NewSecret()
	_, given, err := b.store.RotateSecret(t.Context(), b.ref(e), third)
	require.NoError(t, err)
	require.Equal(t, third.Reveal(), given.Reveal())
	require.Equal(t, []string{third.Reveal(), second.Reveal()}, reveal(b.load(t, e.ID)[0].Secrets), "two at most: the oldest ended")

	b.exec(t, `UPDATE webhooks.endpoint_secrets SET expires_at = now() - interval '1 second' WHERE expires_at > now()`)
	c = b.load(t, e.ID)[0]
	require.Equal(t, []string{third.Reveal()}, reveal(c.Secrets), "after the overlap the new one alone")
	require.Zero(t, c.SecretsUntil)

	t.Run("B33_SecretsAreNeitherInFactsNorPrinted", func(t *testing.T) {
		t.Parallel()
		var text bytes.Buffer
		for _, row := range b.journal(t) {
			text.WriteString(row.body)
		}
		fmt.Fprintf(&text, "%v %+v %#v %v", c, c, c, now)
		require.NoError(t, json.NewEncoder(&text).Encode([]any{c, now}))
		for _, s := range []sign.Secret{first, second, third} {
			require.NotContains(t, text.String(), strings.TrimPrefix(s.Reveal(), "whsec_"))
		}
	})
}

func TestB24_FactsHideTheValuesOfAQuery(t *testing.T) {
	t.Parallel()

	b := setup(t)
	e, _ := b.create(t, "https://example.com/a?token=hunter2&b=c&bare0")
	require.Equal(t, "https://example.com/a?token=hunter2&b=c&bare0", e.URL, "the owner sees it, the relay uses it")
	require.Equal(t, "https://example.com/a?token=***&b=***&***", b.last(t, fact.EndpointCreated).New.URL)
}

func TestTestPublishesForThisEndpointAlone(t *testing.T) {
	t.Parallel()

	b := setup(t)
	e, _ := b.create(t, "https://example.com/a", "conversation.started")
	_, err := b.store.Disable(t.Context(), b.ref(e), "", "")
	require.NoError(t, err)
	id, err := b.store.Test(t.Context(), b.ref(e))
	require.NoError(t, err)
	require.Equal(t, 1, b.count(t, `SELECT count(*) FROM webhooks.outbox
		WHERE event_id = $1 AND event_type = 'test.webhook' AND endpoint_id = $2 AND company_id = $3`, id, e.ID, b.company))
	require.NoError(t, b.store.Delete(t.Context(), b.ref(e)))
	_, err = b.store.Test(t.Context(), b.ref(e))
	var missing *endpoint.NotFoundError
	require.ErrorAs(t, err, &missing)
}

func TestB54_AnotherCompanysEndpointIsNotFound(t *testing.T) {
	t.Parallel()

	b := setup(t)
	e, _ := b.create(t, "https://example.com/a")
	description := "mine now"
	for whose, scope := range map[string]endpoint.Scope{
		"AnotherCompany": endpoint.Company(uuid.New()), "NilCompany": endpoint.Company(uuid.Nil), "ZeroScope": {},
	} {
		ref := endpoint.Ref{Scope: scope, ID: e.ID, Actor: "mallory"}
		for name, call := range map[string]func(context.Context) error{
			"Get":     func(ctx context.Context) error { _, err := b.store.Get(ctx, scope, e.ID); return err },
			"Enable":  func(ctx context.Context) error { _, err := b.store.Enable(ctx, ref); return err },
			"Disable": func(ctx context.Context) error { _, err := b.store.Disable(ctx, ref, "", ""); return err },
			"Delete":  func(ctx context.Context) error { return b.store.Delete(ctx, ref) },
			"Test":    func(ctx context.Context) error { _, err := b.store.Test(ctx, ref); return err },
			"RotateSecret": func(ctx context.Context) error {
				_, _, err := b.store.RotateSecret(ctx, ref, sign.Secret{})
				return err
			},
			"Update": func(ctx context.Context) error {
				_, err := b.store.Update(ctx, endpoint.Update{Ref: ref, Description: &description})
				return err
			},
		} {
			t.Run(name+"By"+whose, func(t *testing.T) {
				t.Parallel()
				var missing *endpoint.NotFoundError
				require.ErrorAs(t, call(t.Context()), &missing)
				require.Equal(t, e.ID, missing.ID)
			})
		}
		page, _, err := b.store.List(t.Context(), endpoint.Filter{Scope: scope})
		require.NoError(t, err)
		require.Empty(t, page)
	}
}

func TestList(t *testing.T) {
	t.Parallel()

	b := setup(t)
	var ids []uuid.UUID
	for i := range 5 {
		e, _ := b.create(t, fmt.Sprintf("https://example.com/Hook-%d", i))
		ids = append(ids, e.ID)
	}
	other := b
	other.company = uuid.New()
	foreign, _ := other.create(t, "https://example.com/Hook-0")
	gone, _ := b.create(t, "https://example.com/gone")
	require.NoError(t, b.store.Delete(t.Context(), b.ref(gone)))
	_, err := b.store.Disable(t.Context(), endpoint.Ref{Scope: endpoint.AnyCompany(), ID: ids[3], Actor: "cli"}, "", "")
	require.NoError(t, err)

	list := func(f endpoint.Filter) (found []uuid.UUID, next uuid.UUID) {
		page, next, err := b.store.List(t.Context(), f)
		require.NoError(t, err)
		for _, e := range page {
			found = append(found, e.ID)
		}
		return found, next
	}
	mine := endpoint.Company(b.company)
	var walked []uuid.UUID
	for f := (endpoint.Filter{Scope: mine, Limit: 2}); ; {
		page, next := list(f)
		walked = append(walked, page...)
		if f.After = next; next == uuid.Nil {
			break
		}
	}
	require.ElementsMatch(t, ids, walked, "every one once, page by page")
	all, _ := list(endpoint.Filter{Scope: endpoint.AnyCompany()})
	require.ElementsMatch(t, append([]uuid.UUID{foreign.ID}, ids...), all)
	found, next := list(endpoint.Filter{Scope: mine, State: endpoint.Disabled})
	require.Equal(t, ids[3:4], found)
	require.Equal(t, uuid.Nil, next)
	found, _ = list(endpoint.Filter{Scope: mine, Text: "hOOK-4"})
	require.Equal(t, ids[4:5], found)
	found, _ = list(endpoint.Filter{Scope: mine, Text: ids[2].String()})
	require.Equal(t, ids[2:3], found)
	found, _ = list(endpoint.Filter{Scope: mine, Text: "%"})
	require.Empty(t, found, "no pattern language")
}

func TestEveryChangeNotifiesRelaysOnCommit(t *testing.T) {
	t.Parallel()

	b := setup(t)
	listener := pq.NewListener(b.db.DSN, time.Second, time.Second, nil)
	defer func() { _ = listener.Close() }()
	require.NoError(t, listener.Listen("webhooks_lanes"))
	heard := func(id uuid.UUID) {
		t.Helper()
		select {
		case n := <-listener.Notify:
			require.NotNil(t, n)
			require.Equal(t, id.String(), n.Extra)
		case <-time.After(10 * time.Second):
			require.Fail(t, "no notification")
		}
	}
	e, _ := b.create(t, "https://example.com/a")
	heard(e.ID)
	_, err := b.store.Disable(t.Context(), b.ref(e), "", "")
	require.NoError(t, err)
	heard(e.ID)
	_, err = b.store.Enable(t.Context(), b.ref(e))
	require.NoError(t, err)
	heard(e.ID)
	_, _, err = b.store.RotateSecret(t.Context(), b.ref(e), sign.Secret{})
	require.NoError(t, err)
	heard(e.ID)
	_, err = b.store.Update(t.Context(), endpoint.Update{Ref: b.ref(e), EventTypes: []string{"test.webhook"}})
	require.NoError(t, err)
	heard(e.ID)
	require.NoError(t, b.store.Delete(t.Context(), b.ref(e)))
	heard(e.ID)
}

func TestOptions(t *testing.T) {
	t.Parallel()

	_, err := endpoint.New(endpoint.Options{RotationOverlap: -time.Second, Policy: egress.Policy{}})
	require.ErrorContains(t, err, "DB is nil")
	require.ErrorContains(t, err, "RotationOverlap is -1s")
}
