package main

import (
	"encoding/json"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/outbox"
)

// TestTheReadmesExamplesAreTaken, as they stand there: the SQL by the survey app's login, and what curl sends by the API.
func TestTheReadmesExamplesAreTaken(t *testing.T) {
	t.Parallel()

	text, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	readme := string(text)
	p := plant(t)

	statements := regexp.MustCompile("(?s)```sql\n(.*?)```").FindAllStringSubmatch(readme, -1)
	require.NotEmpty(t, statements)
	for _, statement := range statements {
		_, err := p.db.App.ExecContext(t.Context(), statement[1])
		require.NoError(t, err, statement[1])
	}
	require.Equal(t, len(statements), p.count(`SELECT count(*) FROM webhooks.outbox`))

	var company string
	key, _ := p.object("api-keys", "create", "--name", "readme")["token"].(string)
	events := 0
	for _, line := range regexp.MustCompile(`(?s)\n    (COMPANY=[\w-]+|curl \$SURVEYHOOKS_API_URL\S+ .*?}')\n`).FindAllStringSubmatch(readme, -1) {
		if value, ok := strings.CutPrefix(line[1], "COMPANY="); ok {
			company = value
			continue
		}
		path := strings.ReplaceAll(strings.TrimPrefix(strings.Fields(line[1])[1], "$SURVEYHOOKS_API_URL"), "$COMPANY", company)
		_, body, _ := strings.Cut(line[1], " -d '")
		body = strings.TrimSuffix(body, "'")
		p.ask(map[bool]int{true: http.StatusAccepted, false: http.StatusCreated}[strings.HasSuffix(path, "/events")], "POST "+path, body,
			"Authorization", "Bearer "+key, "Content-Type", "application/json")
		if strings.HasSuffix(path, "/events") {
			var sent struct {
				Type outbox.Type     `json:"type"`
				Data json.RawMessage `json:"data"`
			}
			require.NoError(t, json.Unmarshal([]byte(body), &sent))
			require.NoError(t, outbox.Check(outbox.Event{Type: sent.Type, CompanyID: uuid.MustParse(company), Data: outbox.Raw(sent.Data)}))
			events++
		}
	}
	require.Equal(t, 1, events)
	require.Equal(t, 1, p.count(`SELECT count(*) FROM webhooks.portal_links`))
	require.NotContains(t, readme, "$URL", "it is defined nowhere")
}
