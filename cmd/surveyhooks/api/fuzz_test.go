package api

import (
	"encoding/base64"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/access"
	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/operator"
	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/recovery"
	"github.com/chattosurvey/surveyhooks/projections"
	"github.com/chattosurvey/surveyhooks/relay/endpoint"
	"github.com/chattosurvey/surveyhooks/relay/relaytest"
	"github.com/chattosurvey/surveyhooks/schema/schematest"
)

func urlEscape(text string) string { return url.QueryEscape(text) }

// fuzzed is the API without a network, which would be most of a run's time.
type fuzzed struct {
	handler http.Handler
	history *projections.Reader
	company uuid.UUID
}

func setupFuzz(f *testing.F) fuzzed {
	f.Helper()
	db := schematest.New(f)
	store, err := endpoint.New(endpoint.Options{DB: db.DB, Keys: relaytest.Keys(f)})
	require.NoError(f, err)
	keys, err := access.NewStore(access.Options{DB: db.DB})
	require.NoError(f, err)
	handler, err := New(Config{
		DB: db.DB, Endpoints: store, Recoveries: recovery.New(recovery.Config{DB: db.DB}),
		Operations: operator.New(operator.Config{DB: db.DB}), Access: keys, PublicURL: "https://hooks.example.com", Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(f, err)
	return fuzzed{handler: handler, history: projections.NewReader(db.DB), company: uuid.New()}
}

// cursor asks every list for what is behind it: as it is, and as the encoding of itself.
func (z fuzzed) cursor(t *testing.T, text string) {
	t.Helper()
	for _, cursor := range []string{text, base64.RawURLEncoding.EncodeToString([]byte(text))} {
		for _, path := range []string{"/endpoints", "/events", "/deliveries", "/attempts", "/health", "/audit"} {
			target := "/v1/companies/" + z.company.String() + path + "?cursor=" + url.QueryEscape(cursor)
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
			r = r.WithContext(access.With(r.Context(), access.Caller{CompanyID: z.company, Role: access.Viewer, Actor: "fuzz"}))
			w := httptest.NewRecorder()
			z.handler.ServeHTTP(w, r)
			require.Contains(t, []int{http.StatusOK, http.StatusBadRequest}, w.Code, "%s %s: %s", path, cursor, w.Body)
		}
		_, err := z.history.Told(t.Context(), z.company, nil, cursor)
		if err != nil {
			require.Equal(t, http.StatusBadRequest, problemOf(err).Status, "%s: %v", cursor, err)
		}
	}
}

func number(n int64) string { return strconv.FormatInt(n, 10) }
