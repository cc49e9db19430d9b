package outbox

import (
	stdsql "database/sql"
	"errors"

	"github.com/ThreeDotsLabs/watermill-sql/v3/pkg/sql"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/lib/pq"
)

// topic is the Watermill topic that Publish writes; the table is in insertEvents.
const topic = "outbox"

// insertEvents takes a column an array and not a row a tuple: six parameters however many events, so that PostgreSQL's
// limit of 65 535 parameters never matters and one plan fits all. A function scan WITH ORDINALITY is known to be
// ordered, so ORDER BY sorts nothing; it states that position follows the order of the call.
const insertEvents = `
INSERT INTO webhooks.outbox (event_id, event_type, company_id, data, created_at, endpoint_id)
SELECT e.event_id, e.event_type, e.company_id, e.data, e.created_at, nullif(e.endpoint_id, '')::uuid
  FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::json[], $5::timestamptz[], $6::text[])
       WITH ORDINALITY AS e (event_id, event_type, company_id, data, created_at, endpoint_id, n)
 ORDER BY e.n`

// errWriteOnly is what the reading half of the adapter answers.
var errWriteOnly = errors.New("outbox.Publish writes only: the log is read by package commitlog")

// outboxSchema tells Watermill's publisher how an event becomes a row. Its reading half is empty.
type outboxSchema struct{}

var _ sql.SchemaAdapter = outboxSchema{}

// InsertQuery makes one statement of all messages.
func (outboxSchema) InsertQuery(_ string, msgs message.Messages) (sql.Query, error) {
	columns := make([]pq.StringArray, 6)
	for i := range columns {
		columns[i] = make(pq.StringArray, 0, len(msgs))
	}
	for _, msg := range msgs {
		for i, value := range [...]string{
			msg.UUID, msg.Metadata.Get(metaEventType), msg.Metadata.Get(metaCompanyID),
			string(msg.Payload), msg.Metadata.Get(metaCreatedAt), msg.Metadata.Get(metaEndpointID),
		} {
			columns[i] = append(columns[i], value)
		}
	}
	args := make([]any, 0, len(columns))
	for _, column := range columns {
		args = append(args, column)
	}
	return sql.Query{Query: insertEvents, Args: args}, nil
}

// SelectQuery is empty: see package commitlog.
func (outboxSchema) SelectQuery(string, string, sql.OffsetsAdapter) sql.Query { return sql.Query{} }

// UnmarshalMessage always fails: see package commitlog.
func (outboxSchema) UnmarshalMessage(sql.Scanner) (sql.Row, error) { return sql.Row{}, errWriteOnly }

// SchemaInitializingQueries is empty: the migrations make the table.
func (outboxSchema) SchemaInitializingQueries(string) []sql.Query { return nil }

// SubscribeIsolationLevel is never asked: nothing subscribes through this adapter.
func (outboxSchema) SubscribeIsolationLevel() stdsql.IsolationLevel { return stdsql.LevelDefault }
