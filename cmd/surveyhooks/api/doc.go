// Package api is the HTTP API of surveyhooks: everything below /v1, in JSON, described by the OpenAPI document that it
// serves at /v1/openapi.json.
//
// It owns the tables idempotency_keys and test_quota, the route table (routes.go), one door for bodies (decode.go), one
// for answers (answer.go) and one for errors (problem.go). It promises that a caller reaches only its own company, and
// that what belongs to another one is answered exactly like what does not exist; that a GET changes nothing; that a POST
// which carries an Idempotency-Key is done once in 24 hours, however often it is sent; that a secret is shown in the
// first answer alone and kept in none; and that every error has a stable code and says what would be right.
//
// It never decides who the caller is: package access does, before it, and a request without a caller is refused. It
// never sends a webhook: tests, retries and recoveries go through the relay like everything else.
//
// # Failure handling
//
// A 4xx changed nothing. After a 5xx, or no answer at all, the change may or may not have been made: send the same
// request with the same Idempotency-Key again. A key whose request is under way is answered 409; one whose process died
// is free again after a minute; an event that it published keeps its id, and so is sent once, and an endpoint that it made
// is found again, without its secret.
package api
