package endpoint

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/relay/header"
	"github.com/chattosurvey/surveyhooks/relay/seal"
	"github.com/chattosurvey/surveyhooks/relay/sign"
)

// sealedValue is a signing secret, or the value of a header, as a table holds it.
type sealedValue struct {
	company, endpoint uuid.UUID
	version           int
	name              string // of the header; "" for a signing secret
	keyID             string // "": a secret from before there were keys, as it is
	sealed            []byte

	part string // of the table's key, beside the endpoint
}

// place is what the value is bound to.
func (v *sealedValue) place() seal.Binding {
	purpose := "signing secret"
	if v.name != "" {
		purpose = "header " + strings.ToLower(v.name)
	}
	return seal.Binding{Purpose: purpose, Company: v.company, Endpoint: v.endpoint, Version: v.version}
}

func (v *sealedValue) open(keys *seal.Ring) ([]byte, error) {
	if v.keyID == "" {
		return v.sealed, nil
	}
	return keys.Open(v.keyID, v.sealed, v.place())
}

// keepSecret seals a secret and inserts it.
func (s *Store) keepSecret(ctx context.Context, tx *sql.Tx, e Endpoint, version int, secret sign.Secret) error {
	v := sealedValue{company: e.CompanyID, endpoint: e.ID, version: version}
	keyID, sealed, err := s.keys.Seal([]byte(secret.Reveal()), v.place())
	if err != nil {
		return fmt.Errorf("seal secret: %w", err)
	}
	if _, err := tx.ExecContext(ctx, insertSecret, e.ID, version, sealed, keyID); err != nil {
		return fmt.Errorf("insert secret: %w", err)
	}
	return nil
}

// keepHeaders seals headers for the endpoint's version, and writes them and their names.
func (s *Store) keepHeaders(ctx context.Context, tx *sql.Tx, e *Endpoint, version int, set []header.Header) error {
	for _, h := range set {
		v := sealedValue{company: e.CompanyID, endpoint: e.ID, version: version, name: h.Name}
		keyID, sealed, err := s.keys.Seal([]byte(h.Value.Reveal()), v.place())
		if err != nil {
			return fmt.Errorf("seal header: %w", err)
		}
		if _, err := tx.ExecContext(ctx, setHeader, e.ID, h.Name, version, sealed, keyID); err != nil {
			return fmt.Errorf("set header: %w", err)
		}
		e.HeaderNames = append(e.HeaderNames, h.Name)
	}
	slices.SortFunc(e.HeaderNames, func(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) })
	return nil
}

// changeHeaders removes and sets headers, when what there will be is within the limits.
func (s *Store) changeHeaders(ctx context.Context, tx *sql.Tx, old Endpoint, u Update) error {
	sizes, err := storedHeaders(ctx, tx, old.ID)
	if err != nil {
		return err
	}
	var bad faults
	for _, name := range u.RemoveHeaders {
		if _, ok := sizes[strings.ToLower(name)]; !ok {
			bad.add("headers", "unknown_header", "there is no header to remove with one of these names; the endpoint has: "+orNone(old.HeaderNames))
			break
		}
	}
	for _, name := range u.RemoveHeaders {
		delete(sizes, strings.ToLower(name))
	}
	for _, h := range u.Headers {
		delete(sizes, strings.ToLower(h.Name)) // it is counted with its new value
	}
	bad.headerTotal(sizes, u.Headers)
	if err := bad.err(); err != nil {
		return err
	}
	for _, name := range u.RemoveHeaders {
		if _, err := tx.ExecContext(ctx, removeHeader, old.ID, name); err != nil {
			return fmt.Errorf("remove header: %w", err)
		}
	}
	now := old
	return s.keepHeaders(ctx, tx, &now, old.Version+1, u.Headers)
}

// storedHeaders are the bytes of each header, by its name in lower case. No key is needed to know them.
func storedHeaders(ctx context.Context, tx *sql.Tx, id uuid.UUID) (map[string]int, error) {
	rows, err := tx.QueryContext(ctx, headerSizes, id)
	if err != nil {
		return nil, fmt.Errorf("read headers: %w", err)
	}
	defer func() { _ = rows.Close() }()
	sizes := map[string]int{}
	for rows.Next() {
		var name string
		var bytes int
		if err := rows.Scan(&name, &bytes); err != nil {
			return nil, fmt.Errorf("read headers: %w", err)
		}
		sizes[strings.ToLower(name)] = len(name) + bytes - seal.Overhead
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read headers: %w", err)
	}
	return sizes, nil
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
