package api

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/recovery"
	"github.com/chattosurvey/surveyhooks/projections"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// TestDeliveriesAndAttemptsAreFoundByEveryFilter, and by no other value of it.
func TestDeliveriesAndAttemptsAreFoundByEveryFilter(t *testing.T) {
	t.Parallel()

	b := setup(t)
	failed := b.told(b.mine, 1, fact.Response{}, fact.Exhausted)
	b.told(b.mine, 2, fact.Response{}, fact.Delivered)
	for query, paths := range map[string][]string{
		"endpoint=" + failed.endpoint.ID.String(): {"deliveries", "attempts"},
		"event=" + failed.event.String():          {"deliveries", "attempts"},
		"delivery=1":                              {"attempts"},
		"state=exhausted":                         {"deliveries"},
		"outcome=failed":                          {"attempts"},
		"status=503":                              {"deliveries", "attempts"},
		"reason=status_5xx":                       {"deliveries", "attempts"},
	} {
		for _, path := range paths {
			found := decodeAs[list[struct {
				DeliveryID int64 `json:"delivery_id"`
			}]](b.get("{mine}/" + path + "?" + query).requireStatus(200))
			require.Len(t, found.Items, 1, "%s?%s", path, query)
			require.EqualValues(t, 1, found.Items[0].DeliveryID)
		}
	}
	for _, query := range []string{"type=other", "until=2020-01-01T00:00:00Z", "status=404", "event=" + uuid.NewString()} {
		require.JSONEq(t, `{"items":[],"next":null}`, string(b.get("{mine}/deliveries?"+query).requireStatus(200).body), query)
	}
	both := decodeAs[list[projections.Delivery]](b.get("{mine}/deliveries?type=conversation.started&from=2026-01-01T00:00:00Z").requireStatus(200))
	require.Len(t, both.Items, 2)
	detail := decodeAs[struct {
		AttemptRows []struct {
			Attempt int `json:"attempt"`
		} `json:"attempt_rows"`
	}](b.get("{mine}/deliveries/1").requireStatus(200))
	require.Len(t, detail.AttemptRows, 1)
	b.get("{mine}/deliveries/0").requireProblem(404, "not_found")
	b.get("{mine}/deliveries/x").requireProblem(404, "not_found")
	b.get("{mine}/deliveries/99999999999999999999").requireProblem(404, "not_found")
}

// TestHealthSaysHowEachEndpointDoes of the company.
func TestHealthSaysHowEachEndpointDoes(t *testing.T) {
	t.Parallel()

	b := setup(t)
	w := b.told(b.mine, 1, fact.Response{}, fact.Delivered)
	b.endpoint(b.theirs)
	for _, query := range []string{"", "?state=enabled", "?endpoint=" + w.endpoint.ID.String()} {
		health := decodeAs[list[projections.EndpointHealth]](b.get("{mine}/health" + query).requireStatus(200))
		require.Len(t, health.Items, 1, query)
		require.Equal(t, w.endpoint.ID, health.Items[0].EndpointID)
	}
	require.JSONEq(t, `{"items":[],"next":null}`, string(b.get("{mine}/health?state=disabled").requireStatus(200).body))
}

// TestARetryIsQueuedOnce: a second one is refused, and so is one of what cannot be sent again.
func TestARetryIsQueuedOnce(t *testing.T) {
	t.Parallel()

	b := setup(t)
	w := b.told(b.mine, 1, fact.Response{}, fact.Exhausted)
	b.post("{mine}/deliveries/1/retries", "").requireProblem(409, "event_expired")

	// The outbox has the event, as after a fan-out.
	_, err := b.db.ExecContext(t.Context(), `WITH o AS (
  INSERT INTO webhooks.outbox (event_id, event_type, company_id, data) VALUES ($1, 'conversation.started', $2, '{}')
  RETURNING event_id, recorded_at, transaction_id, position)
INSERT INTO webhooks.event_ids (event_id, recorded_at, transaction_id, position) SELECT event_id, recorded_at, transaction_id, position FROM o`, w.event, b.mine)
	require.NoError(t, err)
	accepted := b.post("{mine}/deliveries/1/retries", "{}").requireStatus(202)
	require.Equal(t, fmt.Sprintf("/v1/companies/%s/deliveries/1", b.mine), accepted.header.Get("Location"))
	require.Equal(t, accepted.header.Get("Location"), decodeAs[queued](accepted).Delivery)
	b.post("{mine}/deliveries/1/retries", "").requireProblem(409, "already_pending")
	b.project()
	require.Equal(t, "pending", decodeAs[projections.Delivery](b.get("{mine}/deliveries/1").requireStatus(200)).State)

	b.do(call{line: "DELETE {mine}/endpoints/" + w.endpoint.ID.String()}).requireStatus(204)
	b.project()
	b.post("{mine}/deliveries/1/retries", "").requireProblem(409, "endpoint_deleted")
}

// hostile is what a receiver may answer, and no reader may suffer from.
func hostile() map[string][]byte {
	return map[string][]byte{
		"Script":       []byte(`<script>alert(1)</script>`),
		"ANSI":         []byte("\x1b[31mred\x1b[0m"),
		"RightToLeft":  []byte("user\u202etxt.exe"),
		"InvalidUTF8":  {0xff, 0xfe, 'a'},
		"SixteenKNULs": make([]byte, 16<<10),
		"Nothing":      {},
	}
}

// TestB49_ARawResponseIsAFileAndNeverAPage: its bytes are as they came, and no browser shows or runs them.
func TestB49_ARawResponseIsAFileAndNeverAPage(t *testing.T) {
	t.Parallel()

	b := setup(t)
	id := int64(0)
	for name, body := range hostile() {
		id++
		id := id
		b.told(b.mine, id, fact.Response{Body: body}, fact.Exhausted)
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			b := b.in(t)
			raw := b.get(fmt.Sprintf("{mine}/deliveries/%d/attempts/1/response", id)).requireStatus(200)
			require.Equal(t, string(body), string(raw.body))
			require.Equal(t, "text/plain; charset=utf-8", raw.header.Get("Content-Type"))
			require.Equal(t, "nosniff", raw.header.Get("X-Content-Type-Options"))
			require.Equal(t, fmt.Sprintf(`attachment; filename="response-%d-1.txt"`, id), raw.header.Get("Content-Disposition"))
			require.Contains(t, raw.header.Get("Content-Security-Policy"), "sandbox")
			b.get(fmt.Sprintf("{mine}/deliveries/%d/attempts/2/response", id)).requireProblem(404, "not_found")
			b.get(fmt.Sprintf("{mine}/deliveries/%d/attempts/01/response", id)).requireProblem(404, "not_found")
		})
	}
}

// TestB50_AReceiversHeadersStayData: they are JSON in the body, and never headers or log lines of ours.
func TestB50_AReceiversHeadersStayData(t *testing.T) {
	t.Parallel()

	b := setup(t)
	huge := strings.Repeat("h", 60<<10)
	b.told(b.mine, 1, fact.Response{Headers: map[string][]string{
		"X-Split": {"a\r\nSet-Cookie: stolen=1"}, "Set-Cookie": {"theirs=1"}, "X-Huge": {huge},
	}, Body: []byte("x")}, fact.Exhausted)
	for _, path := range []string{"{mine}/deliveries/1", "{mine}/attempts", "{mine}/deliveries/1/attempts/1/response"} {
		r := b.get(path).requireStatus(200)
		require.Empty(t, r.header.Values("Set-Cookie"))
		require.Empty(t, r.header.Values("X-Split"))
		require.Less(t, len(fmt.Sprint(r.header)), 1000)
	}
	require.Contains(t, string(b.get("{mine}/deliveries/1").body), `a\r\nSet-Cookie: stolen=1`)
	require.NotContains(t, b.log.String(), "stolen")
}

// TestB57_ARecoveryIsCountedStartedFollowedAndCancelled, one at a time, and once for one Idempotency-Key.
func TestB57_ARecoveryIsCountedStartedFollowedAndCancelled(t *testing.T) {
	t.Parallel()

	b := setup(t)
	w := b.told(b.mine, 1, fact.Response{}, fact.Exhausted)
	path := "{mine}/endpoints/" + w.endpoint.ID.String() + "/recoveries"
	const since = `{"since":"2026-01-01T00:00:00Z","reason":"the certificate is new"}`
	require.JSONEq(t, `{"deliveries":1,"expired":0}`, string(b.get(path+"/preview?since=2026-01-01T00:00:00Z").requireStatus(200).body))
	require.JSONEq(t, `{"deliveries":0,"expired":0}`, string(b.get(path+"/preview?since=2026-01-01T00:00:00Z&until=2026-02-01T00:00:00Z").requireStatus(200).body))
	b.get(path+"/preview").requireProblem(400, "invalid_parameters", "since")
	b.get(path+"/preview?since=yesterday").requireProblem(400, "invalid_parameters", "since")
	b.get(path+"/preview?since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z").requireProblem(422, "invalid_fields", "since")
	b.post(path, `{"since":"yesterday"}`).requireProblem(422, "invalid_fields", "since")
	b.post(path, `{"since":"2026-01-01T00:00:00Z","until":"tomorrow"}`).requireProblem(422, "invalid_fields", "until")
	b.post(path, `{"since":"2026-01-01T00:00:00Z","until":"2026-02-01T00:00:00Z"}`).requireProblem(409, "nothing_failed")

	started := b.keyed(path, since, "k", "owner").requireStatus(202)
	require.Equal(t, string(started.body), string(b.keyed(path, since, "k", "owner").requireStatus(202).body))
	job := decodeAs[recovery.Recovery](started)
	require.Equal(t, "key:owner", job.Actor)
	require.Equal(t, 1, job.Total)
	b.post(path, since).requireProblem(409, "recovery_running")
	follow := started.header.Get("Location")
	require.Equal(t, recovery.Running, decodeAs[recovery.Recovery](b.get(follow).requireStatus(200)).State)
	cancelled := decodeAs[recovery.Recovery](b.post(follow+"/cancel", "").requireStatus(200))
	require.Equal(t, recovery.Cancelled, cancelled.State)
	require.Equal(t, "key:owner", cancelled.EndedBy)

	b.get(path+"/preview?since=2026-01-01T00:00:00Z&kind=all").requireProblem(400, "invalid_parameters", "kind")
	b.get(path+"/preview?since=2026-01-01T00:00:00Z&kind=missing&event_types=a,b").requireProblem(422, "invalid_fields", "event_types")
	b.post(path, `{"since":"2026-01-01T00:00:00Z","kind":"all"}`).requireProblem(422, "invalid_fields", "kind")
	b.post(path, `{"since":"2026-01-01T00:00:00Z","event_types":["conversation.started"]}`).requireProblem(422, "invalid_fields", "event_types")
	b.post(path, `{"since":"2026-01-01T00:00:00Z","kind":"missing"}`).requireProblem(409, "nothing_missing")

	other := b.endpoint(b.mine).ID.String() // the recovery is not of this endpoint
	b.get("{mine}/endpoints/"+other+"/recoveries/"+job.ID.String()).requireProblem(404, "not_found")
	b.get(path+"/x").requireProblem(404, "not_found")
}

// TestTheTrailOfACompanyIsItsOwnersAlone: who retried what is told, newest first, and to nobody else.
func TestTheTrailOfACompanyIsItsOwnersAlone(t *testing.T) {
	t.Parallel()

	b := setup(t)
	e := b.endpoint(b.mine)
	test := decodeAs[tested](b.post("{mine}/endpoints/"+e.ID.String()+"/tests", "").requireStatus(202))
	b.post("{mine}/endpoints/"+e.ID.String()+"/tests", "").requireStatus(202)
	type line struct {
		Action, Actor string
		SubjectID     uuid.UUID `json:"subject_id"`
		Detail        struct {
			EventID uuid.UUID `json:"event_id"`
		}
	}
	first := decodeAs[list[line]](b.get("{mine}/trail?limit=1").requireStatus(200))
	require.Len(t, first.Items, 1)
	require.NotNil(t, first.Next)
	second := decodeAs[list[line]](b.get("{mine}/trail?limit=1&cursor=" + *first.Next).requireStatus(200))
	require.Equal(t, "test.sent", second.Items[0].Action)
	require.Equal(t, "key:owner", second.Items[0].Actor)
	require.Equal(t, e.ID, second.Items[0].SubjectID)
	require.Equal(t, test.EventID, second.Items[0].Detail.EventID)
	b.get("{mine}/trail?cursor=x").requireProblem(400, "bad_cursor")
	b.do(call{line: "GET {mine}/trail", as: "viewer"}).requireProblem(403, "read_only")
	b.do(call{line: "GET {mine}/trail", as: "foreign"}).requireProblem(404, "not_found")
	require.NotContains(t, string(b.do(call{line: "GET {theirs}/trail", as: "foreign"}).requireStatus(200).body), e.ID.String())
	other := b.endpoint(b.theirs)
	b.do(call{line: "POST {theirs}/endpoints/" + other.ID.String() + "/tests", as: "foreign"}).requireStatus(202)
	seen := string(b.do(call{line: "GET {mine}/trail", as: "operator"}).requireStatus(200).body)
	require.Contains(t, seen, e.ID.String())
	require.NotContains(t, seen, other.ID.String(), "an operator reads the company of the path")
}
