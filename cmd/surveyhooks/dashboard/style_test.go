package dashboard

import (
	"bytes"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// tokens are the custom properties of the stylesheet, in the light scheme and in the dark one.
func tokens(t *testing.T) (light, dark map[string]string) {
	t.Helper()

	css, err := assetFiles.ReadFile("assets/style.css")
	require.NoError(t, err)
	head, _, found := strings.Cut(string(css), "/* Ground */")
	require.True(t, found)
	first, second, found := strings.Cut(head, "@media (prefers-color-scheme: dark)")
	require.True(t, found)
	read := func(text string) map[string]string {
		values := map[string]string{}
		for _, m := range regexp.MustCompile(`--([a-z0-9-]+): (#[0-9a-f]{6});`).FindAllStringSubmatch(text, -1) {
			values[m[1]] = m[2]
		}
		return values
	}
	light, dark = read(first), read(second)
	for name := range light {
		require.NotEmpty(t, dark[name], "the dark scheme has a --%s, too", name)
	}
	return light, dark
}

// luminance is WCAG's relative luminance of a colour.
func luminance(t *testing.T, colour string) float64 {
	t.Helper()

	n, err := strconv.ParseUint(strings.TrimPrefix(colour, "#"), 16, 32)
	require.NoError(t, err)
	sum := 0.0
	for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
		c := float64(n>>(16-8*i)&0xff) / 255
		if c <= 0.04045 {
			c /= 12.92
		} else {
			c = math.Pow((c+0.055)/1.055, 2.4)
		}
		sum += weight * c
	}
	return sum
}

func contrast(t *testing.T, a, b string) float64 {
	t.Helper()

	x, y := luminance(t, a), luminance(t, b)
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

// Text has a contrast of at least 4.5 to what it stands on, and what carries a meaning without being text 3 (WCAG 2.2
// AA, 1.4.3 and 1.4.11).
func TestColoursCanBeTold(t *testing.T) {
	t.Parallel()

	light, dark := tokens(t)
	grounds := []string{"page", "surface", "sunken", "accent-soft"}
	pairs := [][2]string{{"accent-ink", "accent"}, {"accent-ink", "accent-hover"}}
	for _, ground := range grounds {
		pairs = append(pairs, [2]string{"ink", ground}, [2]string{"ink-2", ground}, [2]string{"accent", ground}, [2]string{"accent-hover", ground})
	}
	for _, state := range []string{"ok", "fail", "wait", "retry", "hold", "off"} {
		pairs = append(pairs, [2]string{state, state + "-soft"}, [2]string{state, "surface"}, [2]string{state, "sunken"}, [2]string{"ink", state + "-soft"})
	}
	shapes := [][2]string{{"line-strong", "surface"}, {"focus", "page"}, {"focus", "surface"}}
	for _, bar := range []string{"ok-bar", "fail-bar", "plain-bar"} {
		shapes = append(shapes, [2]string{bar, "surface"})
	}
	for scheme, values := range map[string]map[string]string{"light": light, "dark": dark} {
		for _, pair := range pairs {
			require.GreaterOrEqual(t, contrast(t, values[pair[0]], values[pair[1]]), 4.5, "%s: %s on %s", scheme, pair[0], pair[1])
		}
		for _, pair := range shapes {
			require.GreaterOrEqual(t, contrast(t, values[pair[0]], values[pair[1]]), 3.0, "%s: %s on %s", scheme, pair[0], pair[1])
		}
	}
	require.InDelta(t, 21, contrast(t, "#000000", "#ffffff"), 0.01)
}

// Every colour is a token, so that both schemes know it; and every token that is used is there.
func TestTheStylesheetUsesItsTokens(t *testing.T) {
	t.Parallel()

	css, err := assetFiles.ReadFile("assets/style.css")
	require.NoError(t, err)
	_, body, _ := bytes.Cut(css, []byte("/* Ground */"))
	colours := regexp.MustCompile(`#[0-9a-fA-F]{3,8}\b`).FindAllString(string(body), -1)
	require.Equal(t, []string{"#1f5eff", "#ffffff"}, colours, "the two of the logo alone")
	for _, m := range regexp.MustCompile(`var\(--([a-z0-9-]+)\)`).FindAllStringSubmatch(string(css), -1) {
		require.Contains(t, string(css), "--"+m[1]+":", "--%s is defined", m[1])
	}
	require.NotContains(t, string(css), "http", "nothing is loaded from elsewhere")
}

func TestTheScriptIsSmall(t *testing.T) {
	t.Parallel()

	script, err := assetFiles.ReadFile("assets/dashboard.js")
	require.NoError(t, err)
	require.LessOrEqual(t, bytes.Count(script, []byte("\n")), 200)
	for _, word := range []string{"eval(", "new Function", "localStorage", "http://", "https://"} {
		require.NotContains(t, string(script), word)
	}
}

// The members of every documented event are listed, those of lists and of definitions, too.
func TestSchemasAreListedInTheirOrder(t *testing.T) {
	t.Parallel()

	fields, err := fieldsOf([]byte(`{"type":"object","required":["b"],"properties":{
		"b":{"type":"string","format":"uuid","description":"B."},
		"a":{"type":"array","items":{"$ref":"#/$defs/item"}},
		"c":{"const":"x"}},
		"$defs":{"item":{"type":"object","properties":{"n":{"type":["number","null"]}}}}}`))
	require.NoError(t, err)
	require.Equal(t, []fieldView{
		{Path: "b", Kind: "uuid", Words: "B."},
		{Path: "a", Kind: "array", Optional: true},
		{Path: "a[].n", Kind: "number or null", Optional: true, Depth: 1},
		{Path: "c", Kind: `"x"`, Optional: true},
	}, fields)
}
