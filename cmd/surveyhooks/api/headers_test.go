package api

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/relay/endpoint"
)

func TestB29_CustomHeadersAreSetAndRemovedAndNeverShown(t *testing.T) {
	t.Parallel()

	b := setup(t)
	made := b.post("{mine}/endpoints", `{"url":"https://example.com/in","headers":{"Authorization":"Bearer hunter2","X-Team":"hunter2"}}`).requireStatus(201)
	require.NotContains(t, string(made.body), "hunter2")
	e := decodeAs[endpoint.Endpoint](made)
	require.Equal(t, []string{"Authorization", "X-Team"}, e.HeaderNames)
	path := "{mine}/endpoints/" + e.ID.String()
	changed := b.do(call{line: "PATCH " + path, body: `{"headers":{"x-team":null,"X-New":"hunter2"}}`}).requireStatus(200)
	require.Equal(t, []string{"Authorization", "X-New"}, decodeAs[endpoint.Endpoint](changed).HeaderNames)
	b.project()
	for _, path := range []string{path, "{mine}/endpoints", "{mine}/audit"} {
		require.NotContains(t, string(b.get(path).requireStatus(200).body), "hunter2", path)
	}
	require.NotContains(t, b.log.String(), "hunter2")
}

func TestBadHeadersAreRefusedByTheAPI(t *testing.T) {
	t.Parallel()

	b := setup(t)
	for name, headers := range map[string]string{
		"B25_LineBreak": `{"X-Key":"hunter2\r\nHost: b"}`, "B25_NUL": `{"X-Key":"hunter2\u0000"}`,
		"B26_Space": `{"X Key":"hunter2"}`, "B26_NoName": `{"":"hunter2"}`,
		"B27_Host": `{"Host":"hunter2"}`, "B27_Ours": `{"webhook-ID":"hunter2"}`, "B27_Metadata": `{"Metadata-Flavor":"hunter2"}`,
		"B28_NoASCII": `{"X-Key":"hunter2é"}`, "B28_TooLarge": `{"X-Key":"` + strings.Repeat("hunter2", 1000) + `"}`,
		"NullInANewOne": `{"X-Key":null}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			b := b.in(t)
			got := b.post("{mine}/endpoints", `{"url":"https://example.com/`+name+`","headers":`+headers+`}`)
			got.requireProblem(422, "invalid_fields", "headers")
			require.NotContains(t, string(got.body), "hunter2")
			require.Zero(t, b.count(`SELECT count(*) FROM webhooks.endpoints`), "nothing is stored")
		})
	}
}
