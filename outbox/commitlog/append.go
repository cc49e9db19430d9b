package commitlog

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"strings"

	"github.com/ThreeDotsLabs/watermill"
	wsql "github.com/ThreeDotsLabs/watermill-sql/v3/pkg/sql"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// The metadata keys of a fact's message.
const (
	metaFact    = "fact"
	metaCompany = "company_id"
)

// Append writes facts to the journal, in their order, in one round trip through Watermill's SQL publisher and in the
// caller's transaction.
func Append(ctx context.Context, tx *sql.Tx, facts ...fact.Fact) error {
	if len(facts) == 0 {
		return nil
	}
	messages := make([]*message.Message, len(facts))
	for i, f := range facts {
		body, err := f.MarshalBody()
		if err != nil {
			return err
		}
		messages[i] = message.NewMessage(strconv.Itoa(i), body)
		messages[i].Metadata[metaFact] = string(f.Name)
		if f.CompanyID != uuid.Nil {
			messages[i].Metadata[metaCompany] = f.CompanyID.String()
		}
	}
	pub, err := wsql.NewPublisher(Executor{Ctx: ctx, Tx: tx}, wsql.PublisherConfig{SchemaAdapter: writer{}}, watermill.NopLogger{})
	if err != nil {
		return fmt.Errorf("make journal publisher: %w", err)
	}
	if err := pub.Publish(string(Journal), messages...); err != nil {
		return fmt.Errorf("append %d facts to the journal: %w", len(facts), err)
	}
	return nil
}

// writer is the journal's side of Watermill's schema adapter that a publisher uses.
type writer struct{ *Reader }

// InsertQuery inserts all messages by one statement, in their order, without a limit on their number.
func (writer) InsertQuery(_ string, messages message.Messages) (wsql.Query, error) {
	var facts, companies, bodies strings.Builder
	for i, m := range messages {
		if i > 0 {
			facts.WriteByte('\n')
			companies.WriteByte('\n')
			bodies.WriteByte('\n')
		}
		facts.WriteString(m.Metadata[metaFact])
		companies.WriteString(m.Metadata[metaCompany])
		bodies.Write(m.Payload)
	}
	return wsql.Query{Query: appendFacts, Args: []any{facts.String(), fact.Version, companies.String(), bodies.String()}}, nil
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
