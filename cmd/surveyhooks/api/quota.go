package api

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// testsPerMinute is how many test events a company may ask for.
const testsPerMinute = 10

// TakeTest takes one of the ten test events that a company may ask for in any minute, wherever it asks. It returns 0, or
// how long to wait for the next one.
func TakeTest(ctx context.Context, db *sql.DB, company uuid.UUID) (time.Duration, error) {
	var taken bool
	err := db.QueryRowContext(ctx, takeQuota, company, testsPerMinute).Scan(&taken)
	if err == nil {
		return 0, nil
	}
	if !errors.Is(err, sql.ErrNoRows) {
		return 0, fmt.Errorf("count test events: %w", err)
	}
	var wait sql.NullInt64
	if err := db.QueryRowContext(ctx, waitForQuota, company).Scan(&wait); err != nil {
		return 0, fmt.Errorf("wait for a test event: %w", err)
	}
	return max(time.Duration(wait.Int64)*time.Millisecond, time.Second), nil
}
