package retry

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var now = time.Date(2024, 3, 6, 12, 0, 0, 0, time.UTC)

func TestParseRetryAfter(t *testing.T) {
	t.Parallel()

	taken := map[string]time.Duration{
		"0":                                 0,
		"120":                               2 * time.Minute,
		" 120\t":                            2 * time.Minute,
		"007":                               7 * time.Second,
		"86400":                             24 * time.Hour,
		"1000000000":                        longest,
		"9223372036854775807":               longest,
		"99999999999999999999999":           longest,
		"Wed, 06 Mar 2024 12:01:00 GMT":     time.Minute,
		"Wednesday, 06-Mar-24 12:01:00 GMT": time.Minute,
		"Wed Mar  6 12:01:00 2024":          time.Minute,
		"Wed, 06 Mar 2024 11:00:00 GMT":     0,
		"Fri, 31 Dec 9999 23:59:59 GMT":     longest,
		"Mon, 01 Jan 0001 00:00:00 GMT":     0,
	}
	for header, want := range taken {
		got, ok := ParseRetryAfter(header, now)
		require.True(t, ok, "%q", header)
		require.Equal(t, want, got, "%q", header)
	}

	for _, header := range []string{
		"", " ", "-1", "+5", "1.5", "1e9", "NaN", "Inf", "0x10", "1_000", "5s", "soon", "5, 10", "12\n0", "٣",
		"2024-03-06T12:01:00Z", "Wed, 06 Mar 2024 12:01:00 +0100", strings.Repeat("9", 65),
	} {
		got, ok := ParseRetryAfter(header, now)
		require.False(t, ok, "%q", header)
		require.Zero(t, got, "%q", header)
	}
}

func TestParseRetryAfterReadsEveryDate(t *testing.T) {
	t.Parallel()

	rapid.Check(t, func(t *rapid.T) {
		wait := time.Duration(rapid.Int64Range(0, int64(longest/time.Second)).Draw(t, "seconds")) * time.Second
		for _, header := range []string{
			now.Add(wait).Format(http.TimeFormat),
			fmt.Sprint(int64(wait / time.Second)),
		} {
			got, ok := ParseRetryAfter(header, now)
			require.True(t, ok)
			require.Equal(t, wait, got)
		}
	})
}

func FuzzRetryAfter(f *testing.F) {
	for _, seed := range []string{"120", "-1", "1e9", "NaN", "Wed, 06 Mar 2024 12:01:00 GMT", "99999999999999999999", "\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		wait, ok := ParseRetryAfter(header, now)
		require.GreaterOrEqual(t, wait, time.Duration(0))
		require.LessOrEqual(t, wait, longest)
		if !ok {
			require.Zero(t, wait)
		}
	})
}
