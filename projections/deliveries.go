package projections

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// BadFilterError says that a filter asks for what there cannot be.
type BadFilterError struct{ Field, Value, Want string }

// Error says what would be right.
func (e *BadFilterError) Error() string {
	return fmt.Sprintf("%s is %.40q: want %s", e.Field, e.Value, e.Want)
}

// Deliveries lists deliveries, the latest first. A page may hold fewer than Limit, even none, and still have a Next:
// the history was looked through as far as one answer may take. A filter that cannot be meant is a *BadFilterError.
func (r *Reader) Deliveries(ctx context.Context, f Filter) (Page[Delivery], error) {
	p, err := f.place("deliveries")
	if err != nil {
		return Page[Delivery]{}, err
	}
	if f, err = f.search(); err != nil {
		return Page[Delivery]{}, err
	}
	class, err := f.statusClass()
	if err != nil {
		return Page[Delivery]{}, err
	}
	states := f.states()
	args := append(f.scope(), some(p.ID), f.limit()+1, pq.Array(states), some(f.Status), some(f.Reason), some(f.DeliveryID),
		class, some(f.Trigger))
	statement := f.byCompany(selectDeliveriesOfCompany)
	if statement == "" {
		return list(ctx, r.db, query{f.CompanyID, present(selectDeliveries, "page.delivery_id DESC", ""), args, f.limit()}, deliveryPlace)
	}
	statement = present(statement, "page.created_at DESC, page.delivery_id DESC", ", page.wanted, page.edge")
	page, err := list(ctx, r.db, query{f.CompanyID, statement, append(args, p.At, f.onlyFailing(states)), f.limit()},
		func(w *walked) place { return deliveryPlace(&w.Delivery) })
	if err != nil {
		return Page[Delivery]{}, err
	}
	out := Page[Delivery]{Items: make([]Delivery, 0, len(page.Items)), Next: page.Next}
	for i := range page.Items {
		w := &page.Items[i]
		if w.wanted {
			out.Items = append(out.Items, w.Delivery)
		}
		if w.edge { // what lies behind it was not looked at
			out.Next = deliveryPlace(&w.Delivery).String()
			break
		}
	}
	return out, nil
}

// present wraps a statement that selects deliveries into one that tells of each, in the order of Delivery's fields, what
// holds now, and then of more columns.
func present(page, order, more string) string {
	return strings.NewReplacer("{page}", page, "{order}", order, "{more}", more).Replace(presentPage)
}

func deliveryPlace(d *Delivery) place {
	return place{Of: "deliveries", ID: d.DeliveryID, At: &d.CreatedAt}
}

// search takes what somebody typed for the id that it is.
func (f Filter) search() (Filter, error) {
	if f.Search == "" {
		return f, nil
	}
	if id, err := strconv.ParseInt(f.Search, 10, 64); err == nil && id > 0 && (f.DeliveryID == 0 || f.DeliveryID == id) {
		f.DeliveryID = id
		return f, nil
	}
	id, err := uuid.Parse(f.Search)
	if err != nil || id == uuid.Nil || f.EventID != uuid.Nil && f.EventID != id {
		return f, &BadFilterError{"search", f.Search, "the number of a delivery or the UUID of an event"}
	}
	f.EventID = id
	return f, nil
}

// states is nil for all.
func (f Filter) states() []string {
	if f.State == "" {
		return f.States
	}
	return append(slices.Clone(f.States), f.State)
}

// statusClass is the first digit of the status, 0 when there was no answer, nil for any.
func (f Filter) statusClass() (any, error) {
	switch f.StatusClass {
	case "":
		return nil, nil
	case "none":
		return 0, nil
	case "2xx", "3xx", "4xx", "5xx":
		return int(f.StatusClass[0] - '0'), nil
	default:
		return nil, &BadFilterError{"status class", f.StatusClass, "2xx, 3xx, 4xx, 5xx or none"}
	}
}

// onlyFailing reports that only failing deliveries can be wanted; they have an index of their own.
func (f Filter) onlyFailing(states []string) bool {
	if f.StatusClass != "" && f.StatusClass != "2xx" || f.Status != 0 && f.Status/100 != 2 || f.Reason != "" && f.Reason != string(fact.OK) {
		return true
	}
	for _, s := range states {
		switch fact.State(s) {
		case fact.Retrying, fact.Exhausted, fact.Cancelled:
		default:
			return false
		}
	}
	return len(states) > 0
}

// walked is a delivery that a page has come by.
type walked struct {
	Delivery

	wanted bool // by the filter
	edge   bool // the walk has ended with it
}

func (w *walked) fields() []any { return append(w.Delivery.fields(), &w.wanted, &w.edge) }

func (w *walked) times() []*time.Time { return w.Delivery.times() }
