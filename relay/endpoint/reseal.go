package endpoint

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"github.com/chattosurvey/surveyhooks/relay/seal"
)

const (
	// resealPage fits the ids of a page into one notification: 8000 bytes.
	resealPage = 200

	maxFaults = 10 // that a report spells out
)

// vault is one of the two tables with sealed values.
type vault struct {
	read, lock, write string
	first             string // before the first part of a key
}

func vaults() []vault {
	return []vault{
		{read: selectSecrets, lock: lockSecrets, write: resealSecrets, first: "0"},
		{read: selectHeaders, lock: lockHeaders, write: resealHeaders, first: ""},
	}
}

// mark is where a page ended.
type mark struct {
	endpoint uuid.UUID
	part     string
}

// slot says which values a page has.
type slot struct {
	mark // after it

	butKey    string // not those that this key seals; "": all
	onlyPlain bool   // only what was never sealed
}

// SealCount is what one key has sealed.
type SealCount struct {
	KeyID    string `json:"key_id"` // "": nothing has; these are secrets from before there were keys
	Secrets  int    `json:"secrets"`
	Headers  int    `json:"headers"`
	Unopened int    `json:"unopened"` // of them, with the keys at hand
}

// SealReport says how secrets and headers are sealed.
type SealReport struct {
	Keys   []SealCount `json:"keys"`   // by id
	Faults []string    `json:"faults"` // why values cannot be opened: the first few different reasons
}

// Seals opens every sealed value with the keys, and counts. It changes nothing.
func Seals(ctx context.Context, db *sql.DB, keys *seal.Ring) (SealReport, error) {
	report := SealReport{Keys: []SealCount{}, Faults: []string{}}
	counts := map[string]*SealCount{}
	for _, v := range vaults() {
		from := slot{mark: mark{part: v.first}}
		for {
			page, err := readPage(ctx, db, v.read, from)
			if err != nil {
				return report, err
			}
			for i := range page {
				count := counts[page[i].keyID]
				if count == nil {
					count = &SealCount{KeyID: page[i].keyID}
					counts[page[i].keyID] = count
				}
				if page[i].name == "" {
					count.Secrets++
				} else {
					count.Headers++
				}
				if _, err := page[i].open(keys); err != nil {
					count.Unopened++
					report.Faults = addFault(report.Faults, err)
				}
			}
			if len(page) < resealPage {
				break
			}
			from.mark = page[len(page)-1].mark()
		}
	}
	for _, count := range counts {
		report.Keys = append(report.Keys, *count)
	}
	slices.SortFunc(report.Keys, func(a, b SealCount) int { return strings.Compare(a.KeyID, b.KeyID) })
	return report, nil
}

// ResealReport says what Reseal did.
type ResealReport struct {
	Sealed   int      `json:"sealed"`   // values that the first key seals now, and did not before
	Unopened int      `json:"unopened"` // values that were left as they are
	Faults   []string `json:"faults"`   // why: the first few different reasons
}

// Reseal seals everything that is sealed with another key than the first, or not at all, with the first one, a page in
// each transaction, and erases expired secrets; onlyPlain, it seals only what never was. It may be broken off and run
// again, and beside running relays and other rotations: they are told of every page. What cannot be opened is left
// alone and counted. Errors: seal.ErrNoKeys, or the database's.
func Reseal(ctx context.Context, db *sql.DB, keys *seal.Ring, onlyPlain bool) (ResealReport, error) {
	r := resealing{keys: keys, report: ResealReport{Faults: []string{}}}
	if keys.First() == "" {
		return r.report, seal.ErrNoKeys
	}
	if !onlyPlain {
		if _, err := db.ExecContext(ctx, eraseAllExpired); err != nil {
			return r.report, fmt.Errorf("erase expired secrets: %w", err)
		}
	}
	for _, v := range vaults() {
		from := slot{mark: mark{part: v.first}, butKey: keys.First(), onlyPlain: onlyPlain}
		for more := true; more; {
			before := r.report
			var next mark
			err := inTx(ctx, db, AnyCompany(), func(tx *sql.Tx) error {
				r.report = before // a page that deadlocked is done again
				var err error
				next, more, err = r.page(ctx, tx, v, from)
				return err
			})
			if err != nil {
				return before, fmt.Errorf("seal again: %w", err)
			}
			from.mark = next
		}
	}
	return r.report, nil
}

// resealing is one run of Reseal.
type resealing struct {
	keys   *seal.Ring
	report ResealReport
}

// page does one page, and returns where it ended and whether there may be more.
func (r *resealing) page(ctx context.Context, tx *sql.Tx, v vault, from slot) (mark, bool, error) {
	page, err := readPage(ctx, tx, v.lock, from)
	if err != nil || len(page) == 0 {
		return from.mark, false, err
	}
	var endpoints, parts []string
	var sealed pq.ByteaArray
	for i := range page {
		value, err := page[i].open(r.keys)
		if err != nil {
			r.report.Unopened++
			r.report.Faults = addFault(r.report.Faults, err)
			continue
		}
		id, again, err := r.keys.Seal(value, page[i].place())
		if err != nil {
			return from.mark, false, err
		}
		if id != from.butKey {
			return from.mark, false, errors.New("the keyring was replaced meanwhile: run it again")
		}
		endpoints, parts, sealed = append(endpoints, page[i].endpoint.String()), append(parts, page[i].part), append(sealed, again)
	}
	next, more := page[len(page)-1].mark(), len(page) == resealPage
	if len(sealed) == 0 {
		return next, more, nil
	}
	if _, err := tx.ExecContext(ctx, v.write, pq.Array(endpoints), pq.Array(parts), sealed, from.butKey); err != nil {
		return from.mark, false, fmt.Errorf("write page: %w", err)
	}
	// A relay that lacked the old key may have the new one.
	if _, err := tx.ExecContext(ctx, notify, strings.Join(slices.Compact(endpoints), " ")); err != nil {
		return from.mark, false, fmt.Errorf("notify relays: %w", err)
	}
	r.report.Sealed += len(sealed)
	return next, more, nil
}

func (v *sealedValue) mark() mark { return mark{v.endpoint, v.part} }

// pages is what a page is read from.
type pages interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

func readPage(ctx context.Context, db pages, query string, from slot) ([]sealedValue, error) {
	rows, err := db.QueryContext(ctx, query, from.endpoint, from.part, from.butKey, from.onlyPlain, resealPage)
	if err != nil {
		return nil, fmt.Errorf("read sealed values: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var page []sealedValue
	for rows.Next() {
		var v sealedValue
		if err := rows.Scan(&v.company, &v.endpoint, &v.version, &v.part, &v.name, &v.keyID, &v.sealed); err != nil {
			return nil, fmt.Errorf("read sealed values: %w", err)
		}
		page = append(page, v)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read sealed values: %w", err)
	}
	return page, nil
}

func addFault(faults []string, err error) []string {
	if text := err.Error(); len(faults) < maxFaults && !slices.Contains(faults, text) {
		return append(faults, text)
	}
	return faults
}

// CheckKeys tells by one short query, without opening anything, whether the keys are there that secrets and headers need.
// Each fault is a *seal.MissingKeyError or a *seal.WrongKeyError.
func CheckKeys(ctx context.Context, db *sql.DB, keys *seal.Ring) (faults []error, err error) {
	rows, err := db.QueryContext(ctx, usedKeys)
	if err != nil {
		return nil, fmt.Errorf("read key ids: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var id string
		var start []byte
		if err := rows.Scan(&id, &start); err != nil {
			return nil, fmt.Errorf("read key ids: %w", err)
		}
		if fault := keys.Has(id, start); fault != nil && !slices.ContainsFunc(faults, func(f error) bool { return f.Error() == fault.Error() }) {
			faults = append(faults, fault)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read key ids: %w", err)
	}
	return faults, nil
}
