package dashboard

import (
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"
)

// FuzzPrintable holds that a page shows any bytes of a receiver in characters that neither steer nor turn what follows,
// and shows what can be printed as it is.
func FuzzPrintable(f *testing.F) {
	for _, seed := range []string{
		"", "plain\n\ttext — ü 🙂", "<script>alert(1)</script>", "\x1b[31m", "\x00\xff\xc3", "a\u202edcba\u2066x\u200b", `{"a":[1,"\u202e"]}`, "\u0085\u2028\ufeff",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		whole := true
		for _, r := range string(body) {
			whole = whole && r != unicode.ReplacementChar && (unicode.IsPrint(r) || r == '\n' || r == '\t')
		}
		for _, shown := range []string{printable(body), prettyJSON(body)} {
			require.False(t, strings.ContainsFunc(shown, func(r rune) bool { return !unicode.IsPrint(r) && r != '\n' && r != '\t' }), "%q", shown)
		}
		if whole {
			require.Equal(t, string(body), printable(body))
		}
	})
}
