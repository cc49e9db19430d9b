package commitlog

import (
	"encoding/json"
	"fmt"

	"github.com/ThreeDotsLabs/watermill/message"
)

// Topic names a log.
type Topic string

// The two logs.
const (
	Outbox  Topic = "outbox"
	Journal Topic = "journal"
)

// Page is a run of log rows read together. Its rows are those of webhooks.<topic>_rows(Args...), in the order of
// (transaction_id, position).
type Page struct {
	FromSnapshot  string `json:"from_snapshot"`
	ToSnapshot    string `json:"to_snapshot"`
	AfterXID      string `json:"after_xid"`
	AfterPosition int64  `json:"after_position"`
	UntilXID      string `json:"until_xid"`
	UntilPosition int64  `json:"until_position"`
	Rows          int    `json:"rows"`
}

// Args are the six arguments of webhooks.<topic>_rows.
func (p Page) Args() []any {
	return []any{p.FromSnapshot, p.ToSnapshot, p.AfterXID, p.AfterPosition, p.UntilXID, p.UntilPosition}
}

func (p Page) message() (*message.Message, error) {
	payload, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encode page: %w", err)
	}
	return message.NewMessage(fmt.Sprintf("%s/%d", p.UntilXID, p.UntilPosition), payload), nil
}

// PageOf returns the page that a message of a Reader's subscription carries.
func PageOf(msg *message.Message) (Page, error) {
	var p Page
	if err := json.Unmarshal(msg.Payload, &p); err != nil {
		return Page{}, fmt.Errorf("decode page %s: %w", msg.UUID, err)
	}
	return p, nil
}
