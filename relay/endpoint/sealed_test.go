package endpoint_test

import (
	"bytes"
	"database/sql"
	"encoding/base64"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/relay/endpoint"
	"github.com/chattosurvey/surveyhooks/relay/header"
	"github.com/chattosurvey/surveyhooks/relay/relaytest"
	"github.com/chattosurvey/surveyhooks/relay/seal"
	"github.com/chattosurvey/surveyhooks/relay/sign"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

const credential = "Bearer planted-credential-7c2e"

// withHeaders makes an endpoint that has these headers.
func (b testBundle) withHeaders(t *testing.T, headers ...header.Header) (endpoint.Endpoint, sign.Secret) {
	t.Helper()

	e, secret, err := b.store.Create(t.Context(), endpoint.Create{
		CompanyID: b.company, URL: "https://example.com/" + uuid.NewString(), Headers: headers, Actor: "ada@example.com",
	})
	require.NoError(t, err)
	return e, secret
}

// with is the store with another keyring.
func (b testBundle) with(t *testing.T, keys *seal.Ring) testBundle {
	t.Helper()

	store, err := endpoint.New(endpoint.Options{DB: b.db.DB, Keys: keys})
	require.NoError(t, err)
	b.store, b.keys = store, keys
	return b
}

// dump is every row of every table and view of ours as text, and what pg_dump writes, where there is one.
func (b testBundle) dump(t *testing.T) string {
	t.Helper()

	rows, err := b.db.Owner.QueryContext(t.Context(), `SELECT format('SELECT coalesce(string_agg(t::text, chr(10)), '''') FROM webhooks.%I t', relname)
  FROM pg_catalog.pg_class WHERE relnamespace = 'webhooks'::regnamespace AND relkind IN ('r', 'v', 'm') ORDER BY relname`)
	require.NoError(t, err)
	defer func() { _ = rows.Close() }()
	var queries []string
	for rows.Next() {
		var query string
		require.NoError(t, rows.Scan(&query))
		queries = append(queries, query)
	}
	require.NoError(t, rows.Err())
	var text strings.Builder
	for _, query := range queries {
		var table string
		require.NoError(t, b.db.Owner.QueryRowContext(t.Context(), query).Scan(&table), query)
		text.WriteString(table + "\n")
	}
	if program, err := exec.LookPath("pg_dump"); err == nil {
		var dumped, fault bytes.Buffer
		command := exec.CommandContext(t.Context(), program, "--dbname", b.db.OwnerDSN)
		command.Stdout, command.Stderr = &dumped, &fault
		if err := command.Run(); err != nil {
			// An older program than the server is no fault of ours, and every row is in the text already.
			require.Contains(t, fault.String(), "server version mismatch")
		}
		text.Write(dumped.Bytes())
	}
	return text.String()
}

// spellings are the forms in which a dump could give a text away.
func spellings(texts ...string) []string {
	var list []string
	for _, text := range texts {
		list = append(list, text, fmt.Sprintf("%x", text), base64.StdEncoding.EncodeToString([]byte(text)))
	}
	return list
}

func TestB33_DumpOfTheWholeDatabaseHoldsNoSecret(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e, first := b.withHeaders(t, header.New("Authorization", credential))
	_, second, err := b.store.RotateSecret(t.Context(), b.ref(e), sign.Secret{})
	require.NoError(t, err)
	_, err = b.store.Test(t.Context(), b.ref(e))
	require.NoError(t, err)

	dump := b.dump(t)
	require.Contains(t, dump, e.ID.String(), "the dump is one")
	require.Contains(t, dump, "Authorization")
	for _, secret := range []sign.Secret{first, second} {
		encoded := strings.TrimPrefix(secret.Reveal(), "whsec_")
		raw, err := base64.StdEncoding.DecodeString(encoded)
		require.NoError(t, err)
		for _, leak := range spellings(secret.Reveal(), encoded, string(raw)) {
			require.NotContains(t, dump, leak)
		}
	}
	for _, leak := range spellings(credential, "planted-credential") {
		require.NotContains(t, dump, leak)
	}

	// The search finds what is there to be found.
	b.plant(t, e, first)
	require.Contains(t, b.dump(t), fmt.Sprintf("%x", first.Reveal()))
}

// plant puts a secret where versions without keys had put it.
func (b testBundle) plant(t *testing.T, e endpoint.Endpoint, secret sign.Secret) {
	t.Helper()
	b.exec(t, `UPDATE webhooks.endpoint_secrets SET sealed = $2, key_id = NULL
		WHERE endpoint_id = $1 AND version = (SELECT max(version) FROM webhooks.endpoint_secrets WHERE endpoint_id = $1)`, e.ID, []byte(secret.Reveal()))
}

func TestSecretFromBeforeThereWereKeysWorksUntilItIsSealed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e, secret := b.create(t, "https://example.com")
	b.plant(t, e, secret)
	require.Equal(t, []string{secret.Reveal()}, reveal(b.load(t, e.ID)[0].Secrets))
	report, err := endpoint.Seals(t.Context(), b.db.DB, b.keys)
	require.NoError(t, err)
	require.Equal(t, []endpoint.SealCount{{KeyID: "", Secrets: 1}}, report.Keys)

	sealed, err := endpoint.Reseal(t.Context(), b.db.DB, b.keys, true)
	require.NoError(t, err)
	require.Equal(t, endpoint.ResealReport{Sealed: 1, Faults: []string{}}, sealed)
	require.Equal(t, []string{secret.Reveal()}, reveal(b.load(t, e.ID)[0].Secrets))
	require.NotContains(t, b.dump(t), fmt.Sprintf("%x", secret.Reveal()))
}

func TestB34_RotationSealsEverythingWithTheFirstKey(t *testing.T) {
	t.Parallel()
	old, fresh := relaytest.Key(t, "old"), relaytest.Key(t, "fresh")
	b := setup(t).with(t, relaytest.Ring(t, old))
	want := map[uuid.UUID]string{}
	for range 5 {
		e, secret := b.withHeaders(t, header.New("Authorization", credential), header.New("X-Other", "x"))
		want[e.ID] = secret.Reveal()
	}
	e, _ := b.withHeaders(t)
	_, newest, err := b.store.RotateSecret(t.Context(), b.ref(e), sign.Secret{})
	require.NoError(t, err)
	want[e.ID] = newest.Reveal()
	b.exec(t, `UPDATE webhooks.endpoint_secrets SET expires_at = now() WHERE expires_at IS NOT NULL`)

	both := relaytest.Ring(t, fresh, old)
	onlyPlain, err := endpoint.Reseal(t.Context(), b.db.DB, both, true)
	require.NoError(t, err)
	require.Zero(t, onlyPlain.Sealed, "what is sealed is left alone")
	report, err := endpoint.Reseal(t.Context(), b.db.DB, both, false)
	require.NoError(t, err)
	require.Equal(t, endpoint.ResealReport{Sealed: 6 + 10, Faults: []string{}}, report)
	require.Equal(t, 6, b.count(t, `SELECT count(*) FROM webhooks.endpoint_secrets`), "the expired one is erased")
	again, err := endpoint.Reseal(t.Context(), b.db.DB, both, false)
	require.NoError(t, err)
	require.Zero(t, again.Sealed, "nothing is left to do")

	b = b.with(t, relaytest.Ring(t, fresh)) // the old key is gone
	for id, secret := range want {
		c := b.load(t, id)[0]
		require.NoError(t, c.Sealed)
		require.Equal(t, secret, c.Secrets[0].Reveal())
	}
	seals, err := endpoint.Seals(t.Context(), b.db.DB, b.keys)
	require.NoError(t, err)
	require.Equal(t, []endpoint.SealCount{{KeyID: "fresh", Secrets: 6, Headers: 10}}, seals.Keys)
	faults, err := endpoint.CheckKeys(t.Context(), b.db.DB, b.keys)
	require.NoError(t, err)
	require.Empty(t, faults)
}

// TestRotationsBesideEachOtherAndBesideChangesLoseNothing lets several rotations, in several pages each, and changes of
// the same endpoints run at once.
func TestRotationsBesideEachOtherAndBesideChangesLoseNothing(t *testing.T) {
	t.Parallel()
	old, fresh := relaytest.Key(t, "old"), relaytest.Key(t, "fresh")
	b := setup(t).with(t, relaytest.Ring(t, old))
	e, secret := b.create(t, "https://example.com")
	const many = 450 // more than two pages
	b.exec(t, `WITH made AS (
		INSERT INTO webhooks.endpoints (company_id, url, state_actor)
		SELECT $1, 'https://example.com/' || n, 'test' FROM generate_series(1, $2) n RETURNING endpoint_id)
		INSERT INTO webhooks.endpoint_secrets (endpoint_id, version, sealed) SELECT endpoint_id, 1, $3 FROM made`,
		b.company, many, []byte(secret.Reveal()))

	both := relaytest.Ring(t, fresh, old)
	type result struct {
		sealed int
		err    error
	}
	results := make(chan result)
	for range 3 {
		go func() {
			report, err := endpoint.Reseal(t.Context(), b.db.DB, both, false)
			results <- result{report.Sealed, err}
		}()
	}
	changes := b.with(t, both)
	var newest sign.Secret
	for range 5 {
		var err error
		_, newest, err = changes.store.RotateSecret(t.Context(), b.ref(e), sign.Secret{})
		require.NoError(t, err)
	}
	total := 0
	for range 3 {
		r := <-results
		require.NoError(t, r.err)
		total += r.sealed
	}
	require.GreaterOrEqual(t, total, many)
	require.LessOrEqual(t, total, many+1, "no value is sealed twice")
	b = b.with(t, relaytest.Ring(t, fresh))
	require.Equal(t, newest.Reveal(), b.load(t, e.ID)[0].Secrets[0].Reveal())
	seals, err := endpoint.Seals(t.Context(), b.db.DB, b.keys)
	require.NoError(t, err)
	require.Empty(t, seals.Faults)
}

func TestWhatCannotBeOpenedIsNamedAndLeftAlone(t *testing.T) {
	t.Parallel()

	// Two endpoints, the first with a header, all sealed with the key "mine".
	prepare := func(t *testing.T) (b testBundle, e, victim endpoint.Endpoint, secret sign.Secret) {
		t.Helper()
		b = setup(t).with(t, relaytest.Keys(t, "mine"))
		e, secret = b.withHeaders(t, header.New("Authorization", credential))
		victim, _ = b.create(t, "https://victim.example.com")
		return b, e, victim, secret
	}
	t.Run("MissingKey", func(t *testing.T) {
		t.Parallel()
		b, e, _, secret := prepare(t)
		lost := b.with(t, relaytest.Keys(t, "other"))
		var missing *seal.MissingKeyError
		require.ErrorAs(t, lost.load(t, e.ID)[0].Sealed, &missing)
		require.Equal(t, "mine", missing.KeyID)
		report, err := endpoint.Reseal(t.Context(), b.db.DB, lost.keys, false)
		require.NoError(t, err)
		require.Equal(t, 3, report.Unopened)
		require.Len(t, report.Faults, 1, "one reason, told once")
		faults, err := endpoint.CheckKeys(t.Context(), b.db.DB, lost.keys)
		require.NoError(t, err)
		require.Len(t, faults, 1)
		require.ErrorAs(t, faults[0], &missing)
		seals, err := endpoint.Seals(t.Context(), b.db.DB, lost.keys)
		require.NoError(t, err)
		require.Equal(t, []endpoint.SealCount{{KeyID: "mine", Secrets: 2, Headers: 1, Unopened: 3}}, seals.Keys)
		require.Equal(t, secret.Reveal(), b.load(t, e.ID)[0].Secrets[0].Reveal(), "nothing was changed")
	})
	t.Run("WrongKey", func(t *testing.T) {
		t.Parallel()
		b, e, _, _ := prepare(t)
		wrong := b.with(t, relaytest.Keys(t, "mine"))
		var fault *seal.WrongKeyError
		require.ErrorAs(t, wrong.load(t, e.ID)[0].Sealed, &fault)
		faults, err := endpoint.CheckKeys(t.Context(), b.db.DB, wrong.keys)
		require.NoError(t, err)
		require.Len(t, faults, 1)
		require.ErrorAs(t, faults[0], &fault)
	})
	t.Run("B34_MovedCiphertext", func(t *testing.T) {
		t.Parallel()
		b, e, victim, _ := prepare(t)
		b.exec(t, `UPDATE webhooks.endpoint_secrets v SET sealed = s.sealed FROM webhooks.endpoint_secrets s
			WHERE v.endpoint_id = $1 AND s.endpoint_id = $2`, victim.ID, e.ID)
		var altered *seal.AlteredError
		require.ErrorAs(t, b.load(t, victim.ID)[0].Sealed, &altered)
		require.Equal(t, victim.ID, altered.Place.Endpoint)
		require.NoError(t, b.load(t, e.ID)[0].Sealed, "it is the victim's matter alone")
		seals, err := endpoint.Seals(t.Context(), b.db.DB, b.keys)
		require.NoError(t, err)
		require.Contains(t, seals.Faults[0], victim.ID.String())
	})
	t.Run("HeaderUnderAnotherName", func(t *testing.T) {
		t.Parallel()
		b, e, _, _ := prepare(t)
		b.exec(t, `UPDATE webhooks.endpoint_headers SET name = 'X-Echo' WHERE endpoint_id = $1`, e.ID)
		var altered *seal.AlteredError
		require.ErrorAs(t, b.load(t, e.ID)[0].Sealed, &altered)
	})
}

func TestWithoutKeysNothingIsKeptAndEverythingElseWorks(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e, _ := b.create(t, "https://example.com")
	none := b.with(t, nil)
	_, _, err := none.store.Create(t.Context(), endpoint.Create{CompanyID: b.company, URL: "https://example.com/2", Actor: "ada"})
	require.ErrorIs(t, err, seal.ErrNoKeys)
	_, _, err = none.store.RotateSecret(t.Context(), b.ref(e), sign.Secret{})
	require.ErrorIs(t, err, seal.ErrNoKeys)
	_, err = none.store.Update(t.Context(), endpoint.Update{Ref: b.ref(e), Headers: []header.Header{header.New("X-Key", "v")}})
	require.ErrorIs(t, err, seal.ErrNoKeys)
	_, err = endpoint.Reseal(t.Context(), b.db.DB, nil, false)
	require.ErrorIs(t, err, seal.ErrNoKeys)
	require.Equal(t, 1, b.count(t, `SELECT count(*) FROM webhooks.endpoints`))
	require.Len(t, b.journal(t), 1)

	got, err := none.store.Disable(t.Context(), b.ref(e), fact.ByRequest, "")
	require.NoError(t, err)
	require.Equal(t, 2, got.Version)
	require.NoError(t, none.store.Delete(t.Context(), b.ref(e)))
}

func TestB29_HeadersAreSetReplacedAndRemovedAndNeverRead(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e, _ := b.withHeaders(t, header.New("x-second", "2"), header.New("Authorization", credential))
	require.Equal(t, []string{"Authorization", "x-second"}, e.HeaderNames)
	require.Equal(t, map[string]string{"Authorization": "***", "x-second": "***"}, b.last(t, fact.EndpointCreated).New.Headers)
	got, err := b.store.Get(t.Context(), endpoint.Company(b.company), e.ID)
	require.NoError(t, err)
	require.Equal(t, e, got)
	require.Equal(t, map[string]string{"Authorization": credential, "x-second": "2"}, b.values(t, e))

	got, err = b.store.Update(t.Context(), endpoint.Update{
		Ref: b.ref(e), Headers: []header.Header{header.New("authorization", "Basic new"), header.New("X-Third", "3")}, RemoveHeaders: []string{"X-Second"},
	})
	require.NoError(t, err)
	require.Equal(t, []string{"authorization", "X-Third"}, got.HeaderNames, "a name in another case is the same header")
	require.Equal(t, 2, got.Version)
	require.Equal(t, map[string]string{"authorization": "Basic new", "X-Third": "3"}, b.values(t, e))
	changed := b.last(t, fact.EndpointUpdated)
	require.Equal(t, map[string]string{"Authorization": "***", "x-second": "***"}, changed.Old.Headers)
	require.Equal(t, map[string]string{"authorization": "***", "X-Third": "***"}, changed.New.Headers)

	list, _, err := b.store.List(t.Context(), endpoint.Filter{Scope: endpoint.Company(b.company)})
	require.NoError(t, err)
	require.Equal(t, got, list[0])
	require.NotContains(t, fmt.Sprintf("%+v", b.load(t, e.ID)), "Basic new", "a configuration prints without them")
	for _, row := range b.journal(t) {
		require.NotContains(t, row.body, "Basic new")
		require.NotContains(t, row.body, "planted")
	}
	require.NoError(t, b.store.Delete(t.Context(), b.ref(e)))
	require.Zero(t, b.count(t, `SELECT count(*) FROM webhooks.endpoint_headers`), "erased with the endpoint")
}

// values are the headers as a relay opens them.
func (b testBundle) values(t *testing.T, e endpoint.Endpoint) map[string]string {
	t.Helper()
	c := b.load(t, e.ID)[0]
	require.NoError(t, c.Sealed)
	values := map[string]string{}
	for _, h := range c.Headers {
		values[h.Name] = h.Value.Reveal()
	}
	return values
}

func TestHeadersAreJudgedByField(t *testing.T) {
	t.Parallel()
	b := setup(t)
	half := strings.Repeat("v", 2040)
	e, _ := b.withHeaders(t, header.New("X-One", half), header.New("X-Keep", "1"))
	many := make([]header.Header, 21)
	for i := range many {
		many[i] = header.New(fmt.Sprintf("X-%d", i), "v")
	}
	for name, tt := range map[string]struct {
		set    []header.Header
		remove []string
		code   string
	}{
		"B25_LineBreak":          {set: []header.Header{header.New("X-A", "a\r\nb")}, code: header.CodeValue},
		"B26_NoToken":            {set: []header.Header{header.New("X A", "a")}, code: header.CodeName},
		"B27_Reserved":           {set: []header.Header{header.New("host", "a")}, code: header.CodeReserved},
		"B28_TooMany":            {set: many[:19], code: header.CodeTooMany},
		"B28_TooLargeWithStored": {set: []header.Header{header.New("X-Two", half)}, code: header.CodeTooLarge},
		"TwiceAtOnce":            {set: []header.Header{header.New("X-A", "a"), header.New("x-a", "b")}, code: header.CodeDuplicate},
		"SetAndRemoved":          {set: []header.Header{header.New("X-Keep", "a")}, remove: []string{"x-keep"}, code: header.CodeDuplicate},
		"RemovedUnknown":         {remove: []string{"Authorisation"}, code: "unknown_header"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := b.store.Update(t.Context(), endpoint.Update{Ref: b.ref(e), Headers: tt.set, RemoveHeaders: tt.remove})
			requireCode(t, err, tt.code)
			var invalid *endpoint.InvalidError
			require.ErrorAs(t, err, &invalid)
			require.Equal(t, "headers", invalid.Fields[0].Field)
			got, err := b.store.Get(t.Context(), endpoint.Company(b.company), e.ID)
			require.NoError(t, err)
			require.Equal(t, e, got, "nothing was stored")
		})
	}
}

func TestHeadersAreCountedWithThoseThatStay(t *testing.T) {
	t.Parallel()
	b := setup(t)
	half := strings.Repeat("v", 2040)
	e, _ := b.withHeaders(t, header.New("X-One", half), header.New("X-Keep", "1"))
	now, err := b.store.Update(t.Context(), endpoint.Update{Ref: b.ref(e), Headers: []header.Header{header.New("X-Two", half)}, RemoveHeaders: []string{"X-One"}})
	require.NoError(t, err, "what is removed does not count")
	require.Equal(t, []string{"X-Keep", "X-Two"}, now.HeaderNames)
}

func TestExpiredSecretIsErasedByTheNextRotation(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e, _ := b.create(t, "https://example.com")
	for range 3 {
		_, _, err := b.store.RotateSecret(t.Context(), b.ref(e), sign.Secret{})
		require.NoError(t, err)
	}
	var versions pq.Int64Array
	require.NoError(t, b.db.QueryRowContext(t.Context(), `SELECT array_agg(version ORDER BY version) FROM webhooks.endpoint_secrets WHERE endpoint_id = $1`, e.ID).Scan(&versions))
	require.Equal(t, pq.Int64Array{3, 4}, versions, "two active, and no others are kept")
}

func TestB28_NewEndpointHasAtMostTwentyHeaders(t *testing.T) {
	t.Parallel()
	store, err := endpoint.New(endpoint.Options{DB: new(sql.DB)}) // it is refused before the database is asked
	require.NoError(t, err)
	many := make([]header.Header, 21)
	for i := range many {
		many[i] = header.New(fmt.Sprintf("X-%d", i), "v")
	}
	_, _, err = store.Create(t.Context(), endpoint.Create{CompanyID: uuid.New(), URL: "https://example.com", Headers: many, Actor: "ada"})
	requireCode(t, err, header.CodeTooMany)
}
