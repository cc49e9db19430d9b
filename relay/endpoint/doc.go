// Package endpoint keeps what customers configure: where their webhooks go, of which events, and signed with what.
//
// It owns the tables endpoints, endpoint_secrets and endpoint_headers, makes the lane of each new endpoint, and cancels what a deleted
// one still had to be sent. It promises that every change is one transaction together with its fact (actor, old and
// new value), that the version counts the changes, that running relays are notified on commit, and that nobody reaches
// the endpoint of another company: every call says by its Scope whose endpoints it means, and the zero Scope means
// nobody's.
//
// It never sends anything, never gives a stored secret back (Create and RotateSecret return it once; Load is for the
// relay), and never writes a secret, the value of a header or of a URL's query into a fact or an error.
//
// # Secrets at rest
//
// Signing secrets and the values of custom headers are sealed (package seal), each bound to its company, endpoint, name
// and version. The keys are the caller's and never in the database. Secrets from before there were keys stand there as
// they are, with no key id; Reseal seals them, and moves values from one key to another.
//
// # State
//
//	Create ──▶ enabled ◀──Enable── disabled
//	              │ ───Disable (a person), DisableByRelay (410 Gone, failing for days)──▶ │
//	              └────────────────Delete────────────────▶ deleted ◀──────────────────────┘
//
// While disabled, deliveries are held and new events make none; only test events are sent. Deleted is final: pending
// deliveries are cancelled, secrets are erased, and the URL may be registered again.
//
// # Failure handling
//
// A *NotFoundError, *InvalidError or *ConflictError changed nothing and will come again until the caller changes its
// mind. Transactions that deadlock with the relay's recorder are repeated. After any other error the change was not
// made, unless the answer to the commit was lost: read the endpoint again before repeating.
package endpoint
