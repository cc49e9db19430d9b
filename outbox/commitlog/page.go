package commitlog

import (
	"cmp"
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
	Since         string `json:"since"` // when the first of its rows was written; empty: any time
	Until         string `json:"until"` // when the last was: partitions of other days are not even opened
}

// Args are the eight arguments of webhooks.<topic>_rows.
func (p Page) Args() []any {
	return []any{
		p.FromSnapshot, p.ToSnapshot, p.AfterXID, p.AfterPosition, p.UntilXID, p.UntilPosition,
		cmp.Or(p.Since, "-infinity"), cmp.Or(p.Until, "infinity"),
	}
}

// Follows reports whether the page begins where prev ended, for a reader of up to most rows: no other page was read between.
// Two pages that end with the same snapshot cannot both hold rows that the other one does not.
func (p Page) Follows(prev Page, most int) bool {
	if prev.Rows < most { // it ended its window
		return p.FromSnapshot == prev.ToSnapshot && p.AfterXID == "0" && p.AfterPosition == 0
	}
	return p.FromSnapshot == prev.FromSnapshot && p.ToSnapshot == prev.ToSnapshot &&
		p.AfterXID == prev.UntilXID && p.AfterPosition == prev.UntilPosition
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
