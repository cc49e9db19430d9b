package endpoint_test

import (
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/relay/egresstest"
	"github.com/chattosurvey/surveyhooks/relay/endpoint"
)

// TestBadURLIsRefusedByTheStore: of a new endpoint and of one that is there, which stays as it was.
func TestBadURLIsRefusedByTheStore(t *testing.T) {
	t.Parallel()

	b := setup(t)
	e, _ := b.create(t, "https://example.com/hooks")
	store, err := endpoint.New(endpoint.Options{DB: b.db.DB, Policy: egresstest.Policy()})
	require.NoError(t, err)
	for _, bad := range egresstest.BadURLs() {
		t.Run(bad.Name, func(t *testing.T) {
			t.Parallel()
			_, _, created := store.Create(t.Context(), endpoint.Create{CompanyID: b.company, URL: bad.URL, Actor: "ada"})
			_, updated := store.Update(t.Context(), endpoint.Update{Ref: b.ref(e), URL: &bad.URL})
			for _, err := range []error{created, updated} {
				var invalid *endpoint.InvalidError
				require.ErrorAs(t, err, &invalid)
				require.Len(t, invalid.Fields, 1)
				require.Equal(t, "url", invalid.Fields[0].Field)
				require.Equal(t, bad.Code, invalid.Fields[0].Code)
				require.Contains(t, invalid.Fields[0].Message, bad.Words)
			}
			require.Equal(t, 1, b.count(t, `SELECT count(*) FROM webhooks.endpoints WHERE version = 1 AND url = $1`, e.URL))
			require.Len(t, b.journal(t), 1, "no fact is told of a refusal")
		})
	}
}

// TestBadTextIsRefusedByTheStore: what a page or a terminal would be steered by is not kept; what only looks like it is.
func TestBadTextIsRefusedByTheStore(t *testing.T) {
	t.Parallel()

	b := setup(t)
	for name, text := range map[string]string{
		"B61_EscapeSequence": "a\x1b[31mb", "B61_NUL": "a\x00b", "B61_NotUTF8": "\xff", "B61_C1Control": "a\u009bb",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, err := b.store.Create(t.Context(), endpoint.Create{
				CompanyID: b.company, URL: "https://example.com/" + uuid.NewString(), Description: text, Actor: "ada",
			})
			requireCode(t, err, "invalid_text")
			require.Zero(t, b.count(t, `SELECT count(*) FROM webhooks.endpoints WHERE description <> ''`))
		})
	}
	noted := setup(t)
	e, _ := noted.create(t, "https://example.com/noted")
	for name, note := range map[string]string{
		"B61_EscapeSequence": "a\x1b[31mb", "B61_NUL": "a\x00b", "B61_NotUTF8": "\xff", "B61_TwoLines": "a\nb", "B61_RightToLeft": "a\u202eb",
		"B61_ZeroWidth": "a\u200bb", "B61_TooLong": strings.Repeat("é", 201),
	} {
		t.Run("Note"+name, func(t *testing.T) {
			t.Parallel()
			_, err := noted.store.Disable(t.Context(), noted.ref(e), "", note)
			want := "invalid_text"
			if name == "B61_TooLong" {
				want = "too_long"
			}
			requireCode(t, err, want)
			require.ErrorContains(t, err, "note: use ")
			require.Zero(t, noted.count(t, `SELECT count(*) FROM webhooks.endpoints WHERE state = 'disabled'`))
		})
	}
	script := `<script>alert("x")</script>`
	other := setup(t)
	kept, _, err := other.store.Create(t.Context(), endpoint.Create{CompanyID: b.company, URL: "https://example.com/", Description: script, Actor: "ada"})
	require.NoError(t, err)
	require.Equal(t, script, kept.Description, "whoever shows it escapes it")
	longest := strings.Repeat("é", 200)
	off, err := other.store.Disable(t.Context(), endpoint.Ref{Scope: endpoint.AnyCompany(), ID: kept.ID, Actor: "ada"}, "", longest)
	require.NoError(t, err)
	require.Equal(t, longest, off.StateNote)
}
