// Package dashboard is the pages on which a customer makes webhook endpoints, chooses what they are told of, tests them,
// and reads what became of every event; and the operator's page.
//
// It owns the words that a person reads. It promises that a page shows the caller's company alone and answers with the
// same 404 for what is another company's as for what never was; that every button answers with what is stored, never
// with what is hoped for; that all of it works without JavaScript, which only enhances it; that no page runs or loads
// anything that this binary does not serve, whatever a receiver has answered; that a signing secret is shown once, in
// the answer to the request that made it; and that the value of a custom header is never shown, not even to who has just
// typed it.
//
// It reads the history by projections.Reader and acts through the interfaces of actions.go. It never signs anybody in:
// who the caller is, package access has found out before (a request without a caller is refused), and it never talks to
// a customer's server itself: a test event goes the way of every event.
//
// # Failure handling
//
// A fault is a *problem with a status and words for a person, or else it is ours: it is logged with the request's
// method and route, and the page says no more than that it was logged. A page is rendered whole before its first byte
// is sent. A form that is sent twice is carried out once and answered twice (once.go).
package dashboard
