package api

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

// keyed is a POST with an Idempotency-Key.
func (b *testBundle) keyed(path, body, key, as string) reply {
	return b.do(call{line: "POST " + path, body: body, as: as, header: map[string]string{"Idempotency-Key": key}})
}

// TestB58_ADoubleSubmitIsDoneOnce: the second answer is the first, but for the secret, which is kept nowhere.
func TestB58_ADoubleSubmitIsDoneOnce(t *testing.T) {
	t.Parallel()

	b := setup(t)
	const body = `{"url":"https://example.com/hooks"}`
	first := b.keyed("{mine}/endpoints", body, "k1", "owner").requireStatus(201)
	again := b.keyed("{mine}/endpoints", body, "k1", "owner").requireStatus(201)
	require.Equal(t, first.header.Get("Location"), again.header.Get("Location"))
	require.Empty(t, first.header.Get("Idempotency-Replayed"))
	require.Equal(t, "true", again.header.Get("Idempotency-Replayed"))
	made, replay := decodeAs[withSecret](first), decodeAs[withSecret](again)
	require.NotNil(t, made.Secret)
	require.Nil(t, replay.Secret)
	require.True(t, replay.Withheld)
	require.Equal(t, made.Endpoint, replay.Endpoint)
	var kept string
	require.NoError(t, b.db.QueryRowContext(t.Context(), `SELECT string_agg(k::text, ' ') FROM webhooks.idempotency_keys k`).Scan(&kept))
	require.NotContains(t, kept, "whsec_")

	path := "{mine}/endpoints/" + made.ID.String()
	rotated := decodeAs[withSecret](b.keyed(path+"/secrets", "", "k2", "owner").requireStatus(201))
	require.Equal(t, rotated.Version, decodeAs[withSecret](b.keyed(path+"/secrets", "", "k2", "owner").requireStatus(201)).Version)
	for target, body := range map[string]string{path + "/tests": "", "{mine}/events": `{"type":"a","data":{}}`} {
		once := b.keyed(target, body, target, "owner").requireStatus(202)
		twice := b.keyed(target, body, target, "owner").requireStatus(202)
		require.Equal(t, string(once.body), string(twice.body))
	}
	require.Len(t, b.outbox(), 2, "one test event, one published")
}

// TestAKeyIsForOneRequestOfOneOwner.
func TestAKeyIsForOneRequestOfOneOwner(t *testing.T) {
	t.Parallel()

	b := setup(t)
	b.keyed("{mine}/events", `{"type":"a","data":{}}`, "k", "owner").requireStatus(202)
	b.keyed("{mine}/events", `{"type":"b","data":{}}`, "k", "owner").requireProblem(422, "idempotency_key_reused")
	b.keyed("{mine}/endpoints", `{"url":"https://example.com/"}`, "k", "owner").requireProblem(422, "idempotency_key_reused")
	b.keyed("{mine}/events", `{"type":"b","data":{}}`, "k", "second").requireStatus(202)
	b.keyed("{theirs}/events", `{"type":"b","data":{}}`, "k", "foreign").requireStatus(202)
	for _, bad := range []string{"", " ", "two words", "ü", strings.Repeat("k", 256)} {
		r := b.do(call{line: "POST {mine}/events", body: `{"type":"a","data":{}}`, header: map[string]string{"Idempotency-Key": bad}})
		r.requireProblem(400, "invalid_idempotency_key")
	}
	b.keyed("{mine}/events", `{"type":"a","data":{}}`, strings.Repeat("k", 255), "owner").requireStatus(202)
}

// TestWhatWasRefusedMayBeTriedAgain with the same key, as it is or mended: nothing was done by it.
func TestWhatWasRefusedMayBeTriedAgain(t *testing.T) {
	t.Parallel()

	b := setup(t)
	b.keyed("{mine}/endpoints", `{"url":"ftp://example.com/"}`, "k", "owner").requireProblem(422, "invalid_fields", "url")
	b.keyed("{mine}/endpoints", `{"url":"https://example.com/"}`, "k", "owner").requireStatus(201)
}

// TestOfManyAtOnceOneIsDone: the others are told to ask again, or get its answer.
func TestOfManyAtOnceOneIsDone(t *testing.T) {
	t.Parallel()

	b := setup(t)
	replies := make([]reply, 8)
	var group sync.WaitGroup
	for i := range replies {
		group.Go(func() { replies[i] = b.keyed("{mine}/events", `{"type":"a","data":{}}`, "k", "owner") })
	}
	group.Wait()
	done := 0
	for _, r := range replies {
		if r.status == http.StatusConflict {
			r.requireProblem(409, "request_in_progress")
			require.Equal(t, "1", r.header.Get("Retry-After"))
			continue
		}
		r.requireStatus(202)
		done++
	}
	require.Positive(t, done)
	require.Len(t, b.outbox(), 1)
}

// TestARequestWhoseProcessDiedIsMadeAgainAndItsEventSentOnce: the claim ends by itself and keeps the event's id.
func TestARequestWhoseProcessDiedIsMadeAgainAndItsEventSentOnce(t *testing.T) {
	t.Parallel()

	b := setup(t)
	const body = `{"type":"a","data":{}}`
	b.keyed("{mine}/events", body, "k", "owner").requireStatus(202)
	// As if it had died between the commit and the settling.
	unsettle := `UPDATE webhooks.idempotency_keys SET status = NULL, body = NULL, claimed_until = clock_timestamp() + $1 * interval '1 second'`
	_, err := b.db.ExecContext(t.Context(), unsettle, 60)
	require.NoError(t, err)
	b.keyed("{mine}/events", body, "k", "owner").requireProblem(409, "request_in_progress")
	_, err = b.db.ExecContext(t.Context(), unsettle, -1)
	require.NoError(t, err)
	b.keyed("{mine}/events", `{"type":"b","data":{}}`, "k", "owner").requireProblem(422, "idempotency_key_reused")
	again := decodeAs[published](b.keyed("{mine}/events", body, "k", "owner").requireStatus(202))
	rows := b.outbox()
	require.Len(t, rows, 2)
	require.Equal(t, rows[0].id, rows[1].id, "the same id is sent once")
	require.Equal(t, rows[0].id, again.EventID.String())
}

// TestAnEndpointWhoseProcessDiedIsMadeOnce: made again, the request finds what it made, but for the secret.
func TestAnEndpointWhoseProcessDiedIsMadeOnce(t *testing.T) {
	t.Parallel()

	b := setup(t)
	const body = `{"url":"https://example.com/hooks"}`
	first := b.keyed("{mine}/endpoints", body, "k", "owner").requireStatus(201)
	_, err := b.db.ExecContext(t.Context(), `UPDATE webhooks.idempotency_keys SET status = NULL, body = NULL, claimed_until = '-infinity'`)
	require.NoError(t, err)
	again := b.keyed("{mine}/endpoints", body, "k", "owner").requireStatus(201)
	require.Empty(t, again.header.Get("Idempotency-Replayed"))
	require.Equal(t, first.header.Get("Location"), again.header.Get("Location"))
	made, found := decodeAs[withSecret](first), decodeAs[withSecret](again)
	require.Equal(t, made.Endpoint, found.Endpoint)
	require.Nil(t, found.Secret)
	require.True(t, found.Withheld)
	require.Equal(t, 1, b.count(`SELECT count(*) FROM webhooks.endpoints`))
}

// TestAKeyIsForgottenAfterADay: the same request is then another one, and old rows go.
func TestAKeyIsForgottenAfterADay(t *testing.T) {
	t.Parallel()

	b := setup(t)
	for _, key := range []string{"k", uuid.NewString(), uuid.NewString()} {
		b.keyed("{mine}/events", `{"type":"a","data":{}}`, key, "owner").requireStatus(202)
	}
	_, err := b.db.ExecContext(t.Context(), `UPDATE webhooks.idempotency_keys SET created_at = created_at - interval '24 hours'`)
	require.NoError(t, err)
	r := b.keyed("{mine}/events", `{"type":"b","data":{}}`, "k", "owner").requireStatus(202)
	require.Empty(t, r.header.Get("Idempotency-Replayed"))
	require.Equal(t, 1, b.count(`SELECT count(*) FROM webhooks.idempotency_keys`))
	require.Len(t, b.outbox(), 4)
	require.NotEqual(t, b.outbox()[0].id, b.outbox()[3].id)
}
