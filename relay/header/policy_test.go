package header

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func codes(faults []*Error) []string {
	list := []string{}
	for _, f := range faults {
		list = append(list, f.Code)
	}
	return list
}

// TestB25_ValueThatBreaksTheRequestIsRefused and the others are named for the rows of the catalogue of bad input.
func TestB25_ValueThatBreaksTheRequestIsRefused(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"a\r\nX-Injected: 1", "a\nb", "a\rb", "a\x00b", "a\tb", "a\x7fb", "", " a", "a ", "grüße", "a\xff"} {
		faults := Check(New("X-Api-Key", value))
		require.Equal(t, []string{CodeValue}, codes(faults), "%q", value)
		require.Contains(t, faults[0].Message, "X-Api-Key")
	}
	require.Empty(t, Check(New("X-Api-Key", "every printable ~!@#$%^&*()_+{}|:\"<>? sign")))
}

func TestB26_NameThatIsNoTokenIsRefused(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "X Api", "X-Api:", "X-Api\r\n", "X\x00", "Überschrift", "X(1)", "a/b", "[x]", strings.Repeat("a", 101)} {
		require.Equal(t, []string{CodeName}, codes(Check(New(name, "v"))), "%q", name)
	}
	require.Empty(t, Check(New("x.Y_z!1", "v")))
}

func TestB27_ReservedNamesAreRefusedInAnyCase(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"Host", "Content-Length", "Transfer-Encoding", "Connection", "TE", "Trailer", "Upgrade", "Expect", "Content-Type",
		"Content-Encoding", "User-Agent", "Cookie", "Proxy-Authorization", "Proxy-Connection", "webhook-id", "webhook-anything",
		"X-Webhook-ID", "X-Webhook-Event", "X-Webhook-Anything", "Idempotency-Key", "X-Forwarded-For", "X-Forwarded-Host",
		"Metadata-Flavor", "X-aws-ec2-metadata-token", "X-aws-ec2-metadata-token-ttl-seconds", "Accept-Encoding",
		"Metadata", "X-aliyun-ecs-metadata-token",
	} {
		for _, spelt := range []string{name, strings.ToLower(name), strings.ToUpper(name)} {
			require.Equal(t, []string{CodeReserved}, codes(Check(New(spelt, "v"))), spelt)
		}
	}
	for _, name := range []string{"Authorization", "X-Api-Key", "X-Hosts", "Webhooks", "X-Webhook", "Proxy", "Forwarded", "Cookies", "TEs"} {
		require.Empty(t, Check(New(name, "v")), name)
	}
}

func TestB28_TooManyAndTooLargeAreRefused(t *testing.T) {
	t.Parallel()
	require.Empty(t, CheckTotal(20, 4096))
	require.Equal(t, []string{CodeTooMany, CodeTooLarge}, codes(CheckTotal(21, 4097)))
	require.Equal(t, []string{CodeDuplicate}, codes(Check(New("X-Key", "a"), New("x-key", "b"))))
	require.Equal(t, []string{CodeName, CodeReserved, CodeValue}, codes(Check(New("a b", "v"), New("Host", "v"), New("X", "\n"))),
		"every fault at once")
}

func TestParseReadsWhatCurlTakes(t *testing.T) {
	t.Parallel()
	for line, want := range map[string][2]string{
		"X-Key: a": {"X-Key", "a"}, "X-Key:a": {"X-Key", "a"}, "X-Key:  a:b \t": {"X-Key", "a:b"}, "X-Key:": {"X-Key", ""},
	} {
		h, err := Parse(line)
		require.NoError(t, err)
		require.Equal(t, want, [2]string{h.Name, h.Value.Reveal()}, line)
	}
	_, err := Parse("Bearer hunter2")
	require.ErrorContains(t, err, "Name: value")
	require.NotContains(t, err.Error(), "hunter2")
}

func TestFaultsAndPrintsNeverShowAValue(t *testing.T) {
	t.Parallel()
	const secret = "hunter2"
	for _, faults := range [][]*Error{
		Check(New("X-Key", secret+"\n"), New("x-key", secret), New("Host", secret), New("", secret)),
		Check(New("Authorization Bearer "+secret, "x")),
	} {
		require.NotEmpty(t, faults)
		for _, f := range faults {
			require.NotContains(t, f.Error(), secret)
		}
	}
	h := New("X-Key", secret)
	type holder struct{ v Value }
	var shown strings.Builder
	for _, value := range []any{h, &h, h.Value, holder{h.Value}, &holder{h.Value}, []Header{h}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&shown, verb+"\n", value)
		}
		text, err := json.Marshal(value)
		require.NoError(t, err)
		shown.Write(text)
	}
	slog.New(slog.NewJSONHandler(&shown, nil)).Info("x", "header", h, "value", h.Value)
	require.NotContains(t, shown.String(), secret)
	require.NotContains(t, shown.String(), fmt.Sprintf("%x", secret))
	require.Contains(t, shown.String(), `{"Name":"X-Key","Value":"***"}`)
	require.Empty(t, Value{}.Reveal())
}

// FuzzHeaderPolicy sends what the policy accepts: it arrives as it was given, and as one header more.
func FuzzHeaderPolicy(f *testing.F) {
	for _, seed := range [][2]string{
		{"Authorization", "Bearer x"},
		{"X-Key", "a\r\nHost: evil"},
		{"host", "evil"},
		{"X-Webhook-Id", "1"},
		{"", ""},
		{"Content-Length ", "0"},
		{"X-A", "\x00"},
		{"ſ", "v"},
		{"K", "v"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, name, value string) {
		if len(Check(New(name, value))) > 0 {
			return
		}
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://example.com/hook", strings.NewReader("body"))
		require.NoError(t, err)
		request.Header = http.Header{"Content-Type": {"application/json"}, "User-Agent": {"agent"}, name: {value}}
		var wire bytes.Buffer
		require.NoError(t, request.Write(&wire))
		got, err := http.ReadRequest(bufio.NewReader(&wire))
		require.NoError(t, err)
		require.Equal(t, "example.com", got.Host)
		require.EqualValues(t, len("body"), got.ContentLength)
		require.Equal(t, []string{value}, got.Header.Values(name))
		require.Len(t, got.Header, 4, "type, agent, length and the custom one")
		require.Equal(t, "agent", got.Header.Get("User-Agent"))
	})
}
