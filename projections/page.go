package projections

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	wsql "github.com/ThreeDotsLabs/watermill-sql/v3/pkg/sql"

	"github.com/chattosurvey/surveyhooks/outbox/commitlog"
)

// nextPage reads the bounds of the next page by the same adapter that a Watermill subscription uses, and returns the
// statement that moves the cursor behind it. A drained journal gives a page without rows.
func nextPage(ctx context.Context, tx *sql.Tx, reader *commitlog.Reader) (commitlog.Page, wsql.Query, error) {
	topic := string(commitlog.Journal)
	query := reader.SelectQuery(topic, Group, reader)
	rows, err := tx.QueryContext(ctx, query.Query, query.Args...)
	if err != nil {
		return commitlog.Page{}, wsql.Query{}, fmt.Errorf("read page of journal: %w", err)
	}
	defer rows.Close()
	if !rows.Next() {
		if err := rows.Err(); err != nil {
			return commitlog.Page{}, wsql.Query{}, fmt.Errorf("read page of journal: %w", err)
		}
		return commitlog.Page{}, wsql.Query{}, ErrHeld
	}
	row, err := reader.UnmarshalMessage(rows)
	if errors.Is(err, sql.ErrNoRows) {
		return commitlog.Page{}, wsql.Query{}, nil
	}
	if err != nil {
		return commitlog.Page{}, wsql.Query{}, err
	}
	page, err := commitlog.PageOf(row.Msg)
	if err != nil {
		return commitlog.Page{}, wsql.Query{}, err
	}
	if err := rows.Close(); err != nil {
		return commitlog.Page{}, wsql.Query{}, fmt.Errorf("read page of journal: %w", err)
	}
	return page, reader.AckMessageQuery(topic, row, Group), nil
}
