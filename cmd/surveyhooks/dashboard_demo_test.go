package main

import (
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/outbox"
	"github.com/chattosurvey/surveyhooks/relay/endpoint"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// demo fills a company's history with a day of life, and returns the addresses of pages that show it.
func (p *pages) demo() []string {
	crm := p.endpoint("https://hooks.acme-crm.example/chattosurvey/events", "CRM: contact timeline and scores")
	data := p.endpoint("https://ingest.warehouse.example/v2/surveys?token=s3cr3t", "Data warehouse, loaded every minute", "conversation.completed", "question_response.upserted")
	slack := p.endpoint("https://flows.example.org/hooks/8842-alerts", "Alerts for detractors, team Support", "question_response.upserted")
	old := p.endpoint("https://legacy.example.net/webhook.php", "Old reporting, to be switched off", "conversation.completed")
	paused := p.endpoint("https://staging.acme-crm.example/hooks", "")
	all := []fact.Fact{}
	id := int64(1000)
	types := []outbox.Type{outbox.ConversationStartedType, outbox.ConversationCompletedType, outbox.QuestionResponseUpsertedType}
	for n := range 900 {
		i := 899 - n
		at := p.now.Add(-time.Duration(i) * 97 * time.Second).Add(-time.Duration(p.random.IntN(90)) * time.Second)
		if hour := at.Hour(); p.random.IntN(24) > 6+hour {
			continue
		}
		id++
		all = append(all, p.facts(story{endpoint: crm, id: id, at: at, kind: types[i%3], outcomes: []told{succeeded()}})...)
		if i%3 == 0 {
			id++
			o := []told{succeeded()}
			if i%42 == 0 || i > 300 && i < 380 {
				o = []told{{reason: fact.Timeout, took: 30 * time.Second, detail: "no answer in time"}, succeeded()}
			}
			all = append(all, p.facts(story{endpoint: data, id: id, at: at, kind: types[1+i%2], outcomes: o})...)
		}
		if i%11 == 0 && i < 380 {
			id++
			all = append(all, p.facts(story{endpoint: old, id: id, at: at, kind: types[1], outcomes: []told{refused(), refused(), refused(), refused(), refused(), refused()}})...)
		}
	}
	bad := id + 1
	event := uuid.New()
	p.outboxed(event, outbox.ConversationCompletedType, sampleData(p.T, outbox.ConversationCompletedType, p.owner.CompanyID))
	all = append(all, p.facts(story{endpoint: slack, id: bad, event: event, at: p.now.Add(-80 * time.Second), outcomes: []told{
		{reason: fact.TLS, detail: "TLS handshake: x509: certificate has expired or is not yet valid"}, refused(), refused(),
	}, others: []fact.EndpointChoice{
		{EndpointID: crm.ID, Version: 1, Decision: fact.TypeNotSelected, Trigger: fact.Automatic},
		{EndpointID: paused.ID, Version: 1, Decision: fact.EndpointIsDisabled, Trigger: fact.Automatic},
	}})...)
	p.told(all...)
	_, err := p.db.ExecContext(p.Context(), `INSERT INTO webhooks.pending (endpoint_id, delivery_id, event_id, due_at, started, completed, first_attempt_at)
		VALUES ($1, $2, $3, now() + interval '5 minutes', 3, 3, $4)`, slack.ID, bad, event, p.now.Add(-80*time.Second))
	require.NoError(p, err)
	_, err = p.db.ExecContext(p.Context(), `UPDATE webhooks.lanes SET breaker = 'open', not_before = now() + interval '40 seconds', failing_since = now() - interval '2 minutes' WHERE endpoint_id = $1`, slack.ID)
	require.NoError(p, err)
	_, err = p.db.ExecContext(p.Context(), `INSERT INTO webhooks.relays (relay_id, host, lease_until) VALUES (gen_random_uuid(), 'relay-1.internal', now() + interval '40 seconds'), (gen_random_uuid(), 'relay-2.internal', now() + interval '31 seconds')`)
	require.NoError(p, err)
	ref := endpoint.Ref{Scope: endpoint.Company(p.owner.CompanyID), ID: paused.ID, Actor: p.owner.Actor}
	_, err = p.store.Disable(p.Context(), ref, "", "")
	require.NoError(p, err)
	ref.ID, ref.Actor = old.ID, "relay"
	_, err = p.store.Disable(p.Context(), ref, fact.FailingPersistently, "")
	require.NoError(p, err)
	words := "CRM: contact timeline, scores and tags"
	ref.ID, ref.Actor = crm.ID, "portal:grace@example.com"
	_, err = p.store.Update(p.Context(), endpoint.Update{Ref: ref, Description: &words})
	require.NoError(p, err)
	p.apply()
	return []string{
		"endpoints", "endpoints?as=empty", "endpoints/new", fmt.Sprint("endpoints/", crm.ID), fmt.Sprint("endpoints/", data.ID, "?window=7d"), fmt.Sprint("endpoints/", old.ID),
		"deliveries", fmt.Sprint("endpoints/", old.ID, "/deliveries?state=exhausted"), fmt.Sprint("deliveries/", bad),
		"events", fmt.Sprint("events/", event, "?endpoint=", paused.ID), "event-types", "ops", "trail", fmt.Sprint("endpoints/", old.ID, "/recover?since=", p.now.Add(-24*time.Hour).Format(time.RFC3339)),
		fmt.Sprint("endpoints/", crm.ID, "/rotate"), "receiving", "signature", fmt.Sprint("signature?attempt=2&delivery=", bad), "nothing",
	}
}
