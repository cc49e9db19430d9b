package commitlog

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"

	"github.com/ThreeDotsLabs/watermill"
	wsql "github.com/ThreeDotsLabs/watermill-sql/v3/pkg/sql"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// The metadata keys of a message of facts: a line each for every fact, as its payload has.
const (
	metaFacts     = "facts"
	metaVersions  = "versions"
	metaCompanies = "company_ids"
)

// Append writes facts to the journal, in their order, in one round trip through Watermill's SQL publisher and in the
// caller's transaction. All of them are one message, as a page is when it is read.
func Append(ctx context.Context, tx *sql.Tx, facts ...fact.Fact) error {
	if len(facts) == 0 {
		return nil
	}
	var names, versions, companies, bodies []byte
	for i, f := range facts {
		body, err := f.MarshalBody()
		if err != nil {
			return err
		}
		if i == 0 { // most commits hold facts of one kind
			bodies = make([]byte, 0, len(facts)*(len(body)+64))
			names, companies = make([]byte, 0, len(facts)*24), make([]byte, 0, len(facts)*37)
		} else {
			names, versions = append(names, '\n'), append(versions, '\n')
			companies, bodies = append(companies, '\n'), append(bodies, '\n')
		}
		names, bodies = append(names, f.Name...), append(bodies, body...)
		versions = strconv.AppendInt(versions, int64(f.Name.Version()), 10)
		if f.CompanyID != uuid.Nil {
			companies = append(companies, f.CompanyID.String()...)
		}
	}
	msg := message.NewMessage(strconv.Itoa(len(facts)), bodies)
	msg.Metadata = message.Metadata{metaFacts: string(names), metaVersions: string(versions), metaCompanies: string(companies)}
	pub, err := wsql.NewPublisher(Executor{Ctx: ctx, Tx: tx}, wsql.PublisherConfig{SchemaAdapter: writer{}}, watermill.NopLogger{})
	if err != nil {
		return fmt.Errorf("make journal publisher: %w", err)
	}
	if err := pub.Publish(string(Journal), msg); err != nil {
		return fmt.Errorf("append %d facts to the journal: %w", len(facts), err)
	}
	return nil
}

// writer is the journal's side of Watermill's schema adapter that a publisher uses.
type writer struct{ *Reader }

// InsertQuery inserts the facts of a message by one statement, in their order, without a limit on their number.
func (writer) InsertQuery(_ string, messages message.Messages) (wsql.Query, error) {
	m := messages[0] // Append publishes one
	return wsql.Query{Query: appendFacts, Args: []any{
		m.Metadata[metaFacts], m.Metadata[metaVersions], m.Metadata[metaCompanies], []byte(m.Payload),
	}}, nil
}

// Executor makes Watermill's publisher, which executes under the background context, obey the caller's. The publisher
// sees Commit and Rollback of the embedded Tx, and therefore refuses ever to create tables in it.
type Executor struct {
	*sql.Tx

	Ctx context.Context //nolint:containedctx // it stands in for the argument that the library does not take
}

var _ wsql.ContextExecutor = Executor{}

// ExecContext executes under Ctx and ignores the publisher's context.
func (e Executor) ExecContext(_ context.Context, query string, args ...any) (sql.Result, error) {
	return e.Tx.ExecContext(e.Ctx, query, args...) //nolint:contextcheck // the point of the type
}
