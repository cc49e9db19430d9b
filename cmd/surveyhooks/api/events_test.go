package api

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/outbox"
	"github.com/chattosurvey/surveyhooks/outbox/catalog"
	"github.com/chattosurvey/surveyhooks/projections"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// stored is a row of the outbox.
type stored struct {
	id, kind, data string
	company        uuid.UUID
}

func (b *testBundle) outbox() []stored {
	b.Helper()
	rows, err := b.db.QueryContext(b.Context(), `SELECT event_id, event_type, company_id, data::text FROM webhooks.outbox ORDER BY position`)
	require.NoError(b, err)
	defer rows.Close()
	var all []stored
	for rows.Next() {
		var s stored
		require.NoError(b, rows.Scan(&s.id, &s.kind, &s.company, &s.data))
		all = append(all, s)
	}
	require.NoError(b, rows.Err())
	return all
}

// TestAnEventIsPublishedByteForByte, with its own id or a new one.
func TestAnEventIsPublishedByteForByte(t *testing.T) {
	t.Parallel()

	b := setup(t)
	const data = `{"b" : 1.000000000000000000001e+400,"a":"ä\/\u00e4<&>", "list":[ ]}`
	id := uuid.NewString()
	body := `{"id":"` + id + `","type":"made.up","created_at":"2026-03-01T13:00:00+01:00","data":` + data + `}`
	first := b.post("{mine}/events", body).requireStatus(202)
	require.Equal(t, id, decodeAs[published](first).EventID.String())
	require.Equal(t, "/v1/companies/"+b.mine.String()+"/events/"+id, first.header.Get("Location"))
	require.Equal(t, string(first.body), string(b.post("{mine}/events", body).requireStatus(202).body), "the same id, the same answer; it is sent once")

	fresh := decodeAs[published](b.post("{mine}/events", `{"type":"made.up","data":{}}`).requireStatus(202))
	rows := b.outbox()
	require.Equal(t, stored{id: id, kind: "made.up", company: b.mine, data: data}, rows[0])
	require.Equal(t, fresh.EventID.String(), rows[2].id)
	b.get("{mine}/events/"+fresh.EventID.String()).requireProblem(404, "not_found") // not fanned out yet
}

// TestAFaultyEventIsRefusedInTheOutboxsWords, and nothing is stored.
func TestAFaultyEventIsRefusedInTheOutboxsWords(t *testing.T) {
	t.Parallel()

	b := setup(t)
	big := `{"a":"` + strings.Repeat("x", outbox.MaxDataBytes) + `"}`
	for name, tc := range map[string]struct {
		body   string
		fields []string
	}{
		"B42_WrongCase":    {`{"type":"Conversation.Started","data":{}}`, []string{"type"}},
		"B42_TenKilobytes": {`{"type":"` + strings.Repeat("x", 10<<10) + `","data":{}}`, []string{"type"}},
		"B38_NoTypeNoData": {`{}`, []string{"type", "data"}},
		"B38_Scalar":       {`{"type":"a","data":1}`, []string{"data"}},
		"B38_List":         {`{"type":"a","data":[]}`, []string{"data"}},
		"B43_JustTooLarge": {`{"type":"a","data":` + big + `}`, []string{"data"}},
		"Reserved":         {`{"type":"a","data":{"metadata":{},"event_type":"a"}}`, []string{"data.event_type", "data.metadata"}},
		"MembersMissing":   {`{"type":"conversation.started","data":{"survey":{"name":"Exit survey"}}}`, []string{"data.survey.id", "data.survey.company_id", "data.respondent", "data.conversation"}},
		"NullForAbsent": {
			`{"type":"test.webhook","data":` + strings.Replace(b.data("test.webhook"), `"started_at"`, `"ended_at":null,"started_at"`, 1) + `}`,
			[]string{"data.conversation.ended_at"},
		},
		"B54_OtherCompany":  {`{"type":"a","data":{"survey":{"company_id":"` + b.theirs.String() + `"}}}`, []string{"data.survey.company_id"}},
		"B40_NoUUID":        {`{"id":"a.b","type":"a","data":{}}`, []string{"id"}},
		"B40_Braces":        {`{"id":"{7c9e6679-7425-40de-944b-e07fc1f90ae7}","type":"a","data":{}}`, []string{"id"}},
		"B44_NoZone":        {`{"type":"a","created_at":"2026-03-01T12:00:00","data":{}}`, []string{"created_at"}},
		"B44_YearOfNothing": {`{"type":"a","created_at":"0000-03-01T12:00:00Z","data":{}}`, []string{"created_at"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			b := b.in(t)
			p := b.post("{mine}/events", tc.body).requireProblem(422, "invalid_fields", tc.fields...)
			require.Less(t, len(p.Fields[0].Message), 300, "it does not echo what was sent")
			require.NotContains(t, p.Fields[0].Message, "Raw", "these are no words of Go's")
			require.Empty(t, b.outbox())
		})
	}
}

// TestB42_AnUnknownTypeIsStoredWithAWarning, which a known one is not given.
func TestB42_AnUnknownTypeIsStoredWithAWarning(t *testing.T) {
	t.Parallel()

	b := setup(t)
	known := b.post("{mine}/events", `{"type":"test.webhook","data":`+b.data("test.webhook")+`}`)
	require.NotContains(t, string(known.requireStatus(202).body), "warnings")
	told := decodeAs[published](b.post("{mine}/events", `{"type":"conversation.startet","data":{}}`).requireStatus(202))
	require.Equal(t, []field{{
		"type", "unknown_type",
		`"conversation.startet" is not in the catalogue (did you mean conversation.started?): it is stored, and no endpoint is told of it`,
	}}, told.Warnings)
	require.Len(t, b.outbox(), 2)
}

// TestB43_AnEventHasALargestSize: what is over it by much is not even read, and what has it exactly is stored.
func TestB43_AnEventHasALargestSize(t *testing.T) {
	t.Parallel()

	b := setup(t)
	big := `{"a":"` + strings.Repeat("x", outbox.MaxDataBytes) + `"}`
	b.post("{mine}/events", `{"type":"a","data":{"a":"`+strings.Repeat("x", maxPublishing)+`"}}`).requireProblem(413, "body_too_large")
	b.post("{mine}/events", `{"type":"a","company_id":"`+b.theirs.String()+`","data":{}}`).requireProblem(400, "unknown_field") // B55
	require.Empty(t, b.outbox())

	b.post("{mine}/events", `{"type":"a","created_at":"1970-01-01T00:00:00Z","data":`+big[:outbox.MaxDataBytes-2]+`"}}`).requireStatus(202) // B44, and B43 exactly
	require.Len(t, b.outbox(), 1)
}

// TestEventsAreListedWithTheirDecisions, those of a company without endpoints, too.
func TestEventsAreListedWithTheirDecisions(t *testing.T) {
	t.Parallel()

	b := setup(t)
	w := b.told(b.mine, 1, fact.Response{}, fact.Delivered)
	lonely := uuid.New()
	b.given(fact.Fact{Name: fact.EventFannedOut, CompanyID: b.mine, Body: fact.FannedOut{
		EventID: lonely, EventType: "conversation.completed", CreatedAt: noon(), Position: 2, Decisions: []fact.EndpointChoice{},
	}})
	all := decodeAs[list[projections.Event]](b.get("{mine}/events").requireStatus(200))
	require.Len(t, all.Items, 2)
	require.Equal(t, lonely, all.Items[0].EventID)
	require.JSONEq(t, `[]`, string(all.Items[0].Decisions), "B46: nobody was told, and it is seen")
	for query, want := range map[string]uuid.UUID{
		"endpoint=" + w.endpoint.ID.String(): w.event, "type=conversation.completed": lonely,
	} {
		some := decodeAs[list[projections.Event]](b.get("{mine}/events?" + query).requireStatus(200))
		require.Len(t, some.Items, 1, query)
		require.Equal(t, want, some.Items[0].EventID)
	}
	require.Equal(t, w.event, decodeAs[projections.Event](b.get("{mine}/events/"+w.event.String()).requireStatus(200)).EventID)
	require.Contains(t, string(b.get(fmt.Sprintf("{mine}/events/%s/decisions/%s", w.event, w.endpoint.ID)).requireStatus(200).body), "chosen")
}

// TestB47_ListsHoldNoPersonalData: what the event says is neither in lists nor in the log.
func TestB47_ListsHoldNoPersonalData(t *testing.T) {
	t.Parallel()

	b := setup(t)
	b.post("{mine}/events", `{"type":"made.up","data":{"phone":"+4912345"}}`).requireStatus(202)
	b.told(b.mine, 1, fact.Response{}, fact.Delivered)
	for _, path := range []string{"/events", "/deliveries", "/attempts", "/health", "/audit", "/trail"} {
		require.NotContains(t, string(b.get("{mine}"+path).requireStatus(200).body), "+4912345")
	}
	require.NotContains(t, b.log.String(), "+4912345")
}

// TestTheCatalogueIsServed as package catalog has it.
func TestTheCatalogueIsServed(t *testing.T) {
	t.Parallel()

	b := setup(t)
	all := decodeAs[list[catalog.Entry]](b.get("/v1/event-types").requireStatus(200))
	require.Len(t, all.Items, len(outbox.Types()))
	one := decodeAs[map[string]json.RawMessage](b.get("/v1/event-types/test.webhook").requireStatus(200))
	require.JSONEq(t, string(all.Items[3].Schema), string(one["schema"]))
	b.get("/v1/event-types/made.up").requireProblem(404, "not_found")
}
