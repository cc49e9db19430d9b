// Package access says who calls the API and the pages, and what they may do.
//
// It promises that a handler behind one of its doors always finds a Caller in the request's context, and that the
// Caller's company is the only one that the handler may show; and that no company, key or session uses more than its share
// of the web server's connections to the database, as long as handlers take turns (turn.go). It never decides what a page
// of a handler looks like.
package access

import (
	"context"

	"github.com/google/uuid"
)

// Role is what a caller may do.
type Role string

// The roles. An Operator belongs to us and reaches every company; the others belong to one company.
const (
	Viewer   Role = "viewer"   // reads
	Owner    Role = "owner"    // reads and changes
	Operator Role = "operator" // reads and changes everything, and sees the pages under /ops
)

// Caller is who a request comes from.
type Caller struct {
	CompanyID uuid.UUID // the tenant; zero only for an Operator, who reaches every company
	Role      Role
	Actor     string // for the audit trail, such as portal:ada@example.com, key:nightly-sync or operator:ada
}

// MayChange reports whether the caller may change anything.
func (c Caller) MayChange() bool { return c.Role == Owner || c.Role == Operator }

// Reaches reports whether the company is the caller's to see.
func (c Caller) Reaches(company uuid.UUID) bool {
	return c.Role == Operator && c.CompanyID == uuid.Nil || c.CompanyID != uuid.Nil && c.CompanyID == company
}

type callerKey struct{}

// With returns a context that carries the caller.
func With(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// From returns the caller of a request; false means that nobody was let in, and the handler must refuse.
func From(ctx context.Context) (Caller, bool) {
	c, ok := ctx.Value(callerKey{}).(Caller)
	return c, ok
}
