package dashboard

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/projections"
)

// maxExport bounds an export in rows; a longer one is taken in parts, by the filter's time.
const maxExport = 50_000

// exportRow is a delivery as it leaves the house: no bodies, no headers, no signatures.
type exportRow struct {
	DeliveryID    int64      `json:"delivery_id"`
	EventID       uuid.UUID  `json:"event_id"`
	EndpointID    uuid.UUID  `json:"endpoint_id"`
	EventType     string     `json:"event_type"`
	State         string     `json:"state"`
	Trigger       string     `json:"trigger"`
	Attempts      int        `json:"attempts"`
	LastStatus    *int       `json:"last_status"`
	LastReason    *string    `json:"last_reason"`
	LastTotalUs   *int64     `json:"last_total_us"`
	CreatedAt     time.Time  `json:"created_at"`
	LastAttemptAt *time.Time `json:"last_attempt_at"`
	NextAttemptAt *time.Time `json:"next_attempt_at"`
	FinishedAt    *time.Time `json:"finished_at"`
	RequestedBy   string     `json:"requested_by"`
	RetriedBy     string     `json:"retried_by"`
	RetriedAt     *time.Time `json:"retried_at"`
}

func exported(d projections.Delivery) exportRow {
	return exportRow{
		DeliveryID: d.DeliveryID, EventID: d.EventID, EndpointID: d.EndpointID, EventType: d.EventType, State: d.State,
		Trigger: d.Trigger, Attempts: d.Attempts, LastStatus: d.LastStatus, LastReason: d.LastReason, LastTotalUs: d.LastTotalUs,
		CreatedAt: d.CreatedAt, LastAttemptAt: d.LastAttemptAt, NextAttemptAt: d.NextAttemptAt, FinishedAt: d.FinishedAt,
		RequestedBy: d.RequestedBy, RetriedBy: d.RetriedBy, RetriedAt: d.RetriedAt,
	}
}

func exportHeader() []string {
	return []string{
		"delivery_id", "event_id", "endpoint_id", "event_type", "state", "trigger", "attempts", "last_status", "last_reason",
		"last_total_us", "created_at", "last_attempt_at", "next_attempt_at", "finished_at",
		"requested_by", "retried_by", "retried_at",
	}
}

// cells are a row for a spreadsheet.
func (r exportRow) cells() []string {
	status, reason, took := "", "", ""
	if r.LastStatus != nil {
		status = strconv.Itoa(*r.LastStatus)
	}
	if r.LastReason != nil {
		reason = *r.LastReason
	}
	if r.LastTotalUs != nil {
		took = strconv.FormatInt(*r.LastTotalUs, 10)
	}
	cells := []string{
		strconv.FormatInt(r.DeliveryID, 10), r.EventID.String(), r.EndpointID.String(), r.EventType, r.State, r.Trigger,
		strconv.Itoa(r.Attempts), status, reason, took, r.CreatedAt.Format(time.RFC3339Nano),
	}
	for _, t := range []*time.Time{r.LastAttemptAt, r.NextAttemptAt, r.FinishedAt} {
		cells = append(cells, timeCell(t))
	}
	cells = append(cells, r.RequestedBy, r.RetriedBy, timeCell(r.RetriedAt))
	for i, cell := range cells {
		cells[i] = inert(cell)
	}
	return cells
}

func timeCell(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.Format(time.RFC3339Nano)
}

// inert keeps a spreadsheet from taking a text for a formula.
func inert(cell string) string {
	if strings.ContainsAny(cell[:min(len(cell), 1)], "=+-@\t\r") {
		return "'" + cell
	}
	return cell
}

// export writes the filtered list, page after page, so that its size never stands in memory.
func (q *request) export() error {
	f, err := readFilter(q.r.URL.Query(), q.now)
	if err != nil {
		return err
	}
	f.query.CompanyID, f.query.Limit, f.query.Cursor = q.caller.CompanyID, 500, ""
	if text := q.r.URL.Query().Get("endpoint"); text != "" {
		id, err := uuid.Parse(text)
		if err != nil {
			return ErrNotFound
		}
		e, err := q.Registry.Endpoint(q.r.Context(), Ref{Caller: q.caller, ID: id})
		if err != nil {
			return err
		}
		f.query.EndpointID, f.query.CompanyID = e.ID, e.CompanyID
	}
	format := q.r.URL.Query().Get("format")
	kinds := map[string]string{"csv": "text/csv; charset=utf-8; header=present", "jsonl": "application/jsonl; charset=utf-8"}
	kind, ok := kinds[format]
	if !ok {
		return badRequest("The format of an export is csv or jsonl.")
	}
	if !q.exports.enter(q.caller.CompanyID) {
		return &problem{http.StatusTooManyRequests, "Too many exports", "Other exports are still under way. Let one of them end, then try again."}
	}
	defer q.exports.leave(q.caller.CompanyID)
	first, err := q.History.Deliveries(q.r.Context(), f.query) // before the first byte: a fault still has its page
	if err != nil {
		return err
	}
	q.end() // each page has a turn of its own
	q.w.Header().Set("Content-Type", kind)
	q.w.Header().Set("Content-Disposition", fmt.Sprintf(`attachment; filename="deliveries-%s.%s"`, q.now.UTC().Format("20060102-150405"), format))
	q.w.WriteHeader(http.StatusOK)
	write := q.writeJSONL()
	if format == "csv" {
		if write, err = q.writeCSV(); err != nil {
			return nil // the reader went away
		}
	}
	return q.exportPages(f.query, first, write)
}

func (q *request) exportPages(f projections.Filter, page projections.Page[projections.Delivery], write func([]projections.Delivery) error) error {
	for n := 0; ; {
		if err := write(page.Items); err != nil {
			return nil //nolint:nilerr // the reader went away
		}
		if n += len(page.Items); page.Next == "" || n >= maxExport {
			return nil
		}
		f.Cursor = page.Next
		err := q.nextTurn(func() (err error) {
			page, err = q.History.Deliveries(q.r.Context(), f)
			return err
		})
		if q.r.Context().Err() != nil {
			return nil //nolint:nilerr // the reader went away, and the query with them
		} else if err != nil {
			// A whole answer must not look like one that broke off: cut the connection.
			q.Logger.ErrorContext(q.r.Context(), "export broke off", "error", err)
			panic(http.ErrAbortHandler)
		}
	}
}

func (q *request) writeCSV() (func([]projections.Delivery) error, error) {
	out := csv.NewWriter(q.w)
	if err := out.Write(exportHeader()); err != nil {
		return nil, err
	}
	return func(rows []projections.Delivery) error {
		for _, d := range rows {
			if err := out.Write(exported(d).cells()); err != nil {
				return err
			}
		}
		out.Flush()
		return out.Error()
	}, nil
}

func (q *request) writeJSONL() func([]projections.Delivery) error {
	out := json.NewEncoder(q.w)
	return func(rows []projections.Delivery) error {
		for _, d := range rows {
			if err := out.Encode(exported(d)); err != nil {
				return err
			}
		}
		return nil
	}
}
