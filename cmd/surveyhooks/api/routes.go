package api

import "net/http"

// permission is what a caller must be allowed to.
type permission int

const (
	anybody  permission = iota // even who is not known
	known                      // any caller
	reads                      // a caller that reaches the company of the path
	changes                    // and may change what belongs to it
	operates                   // an operator of every company
)

// route is one operation. The mux is made of these, and the tests hold openapi.json to them.
type route struct {
	method, pattern string
	may             permission
	query           []string // the parameters that it takes; any other is refused
	bodyLimit       int64    // default maxBody
	streams         bool     // answers as long as the client listens
	handle          func(*server, *request) (answer, error)
}

const (
	company   = "/v1/companies/{company_id}"
	endpoints = company + "/endpoints"
	one       = endpoints + "/{endpoint_id}"
	events    = company + "/events"
	delivered = company + "/deliveries"
	recovered = one + "/recoveries"
)

// routes is the whole API.
func routes() []route {
	paged := func(names ...string) []string { return append(names, "cursor", "limit") }
	return []route{
		{method: http.MethodGet, pattern: "/v1/openapi.json", may: anybody, handle: (*server).openapi},
		{method: http.MethodGet, pattern: "/v1/event-types", may: known, handle: (*server).listEventTypes},
		{method: http.MethodGet, pattern: "/v1/event-types/{event_type}", may: known, handle: (*server).getEventType},

		{method: http.MethodGet, pattern: endpoints, may: reads, query: paged("state", "q"), handle: (*server).listEndpoints},
		{method: http.MethodPost, pattern: endpoints, may: changes, handle: (*server).createEndpoint},
		{method: http.MethodGet, pattern: one, may: reads, handle: (*server).getEndpoint},
		{method: http.MethodPatch, pattern: one, may: changes, handle: (*server).updateEndpoint},
		{method: http.MethodDelete, pattern: one, may: changes, handle: (*server).deleteEndpoint},
		{method: http.MethodPost, pattern: one + "/enable", may: changes, handle: (*server).enableEndpoint},
		{method: http.MethodPost, pattern: one + "/disable", may: changes, handle: (*server).disableEndpoint},
		{method: http.MethodPost, pattern: one + "/secrets", may: changes, handle: (*server).rotateSecret},
		{method: http.MethodPost, pattern: one + "/tests", may: changes, handle: (*server).testEndpoint},

		{method: http.MethodGet, pattern: recovered + "/preview", may: reads, query: []string{"kind", "event_types", "since", "until"}, handle: (*server).previewRecovery},
		{method: http.MethodPost, pattern: recovered, may: changes, handle: (*server).startRecovery},
		{method: http.MethodGet, pattern: recovered + "/{recovery_id}", may: reads, handle: (*server).getRecovery},
		{method: http.MethodPost, pattern: recovered + "/{recovery_id}/cancel", may: changes, handle: (*server).cancelRecovery},

		{method: http.MethodGet, pattern: events, may: reads, query: paged("endpoint", "type", "from", "until"), handle: (*server).listEvents},
		{method: http.MethodPost, pattern: events, may: changes, bodyLimit: maxPublishing, handle: (*server).publishEvent},
		{method: http.MethodGet, pattern: events + "/{event_id}", may: reads, handle: (*server).getEvent},
		{method: http.MethodGet, pattern: events + "/{event_id}/decisions/{endpoint_id}", may: reads, handle: (*server).explainDecision},
		{method: http.MethodPost, pattern: events + "/{event_id}/decisions/{endpoint_id}/deliveries", may: changes, handle: (*server).requestDelivery},

		{method: http.MethodGet, pattern: delivered, may: reads, query: paged("endpoint", "event", "type", "state", "status", "reason", "from", "until"), handle: (*server).listDeliveries},
		{method: http.MethodGet, pattern: delivered + "/{delivery_id}", may: reads, handle: (*server).getDelivery},
		{method: http.MethodPost, pattern: delivered + "/{delivery_id}/retries", may: changes, handle: (*server).retryDelivery},
		{method: http.MethodGet, pattern: delivered + "/{delivery_id}/attempts/{attempt}/response", may: reads, handle: (*server).downloadResponse},
		{method: http.MethodGet, pattern: company + "/attempts", may: reads, query: paged("endpoint", "event", "delivery", "type", "outcome", "status", "reason", "from", "until"), handle: (*server).listAttempts},

		{method: http.MethodGet, pattern: company + "/health", may: reads, query: paged("endpoint", "state"), handle: (*server).listHealth},
		{method: http.MethodGet, pattern: company + "/audit", may: reads, query: paged("endpoint", "fact", "reason", "from", "until"), handle: (*server).listChanges},
		{method: http.MethodGet, pattern: company + "/trail", may: changes, query: paged(), handle: (*server).listTrail},
		{method: http.MethodGet, pattern: company + "/stream", may: reads, query: []string{"types", "after"}, streams: true, handle: (*server).stream},

		{method: http.MethodGet, pattern: "/v1/operations", may: operates, handle: (*server).getOperations},
		{method: http.MethodPost, pattern: "/v1/operations/pause", may: operates, handle: (*server).pauseSending},
		{method: http.MethodPost, pattern: "/v1/operations/resume", may: operates, handle: (*server).resumeSending},
		{method: http.MethodPost, pattern: "/v1/relays/{relay_id}/drain", may: operates, handle: (*server).drainRelay},
		{method: http.MethodPost, pattern: "/v1/relays/{relay_id}/undrain", may: operates, handle: (*server).undrainRelay},
		{method: http.MethodPost, pattern: "/v1/rebuilds", may: operates, handle: (*server).startRebuild},
		{method: http.MethodGet, pattern: "/v1/rebuilds/{rebuild_id}", may: operates, handle: (*server).getRebuild},

		{method: http.MethodPost, pattern: "/v1/portal-links", may: operates, handle: (*server).createLink},
		{method: http.MethodGet, pattern: "/v1/api-keys", may: operates, query: paged(), handle: (*server).listKeys},
		{method: http.MethodPost, pattern: "/v1/api-keys", may: operates, handle: (*server).createKey},
		{method: http.MethodDelete, pattern: "/v1/api-keys/{key_id}", may: operates, handle: (*server).revokeKey},
	}
}
