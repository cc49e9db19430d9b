package wire

import "strings"

// MaskQuery is a URL as others than its endpoint and who manages it may see it: customers put tokens into queries, so
// the keys alone are left of them.
func MaskQuery(url string) string {
	before, query, found := strings.Cut(url, "?")
	if !found || query == "" {
		return url
	}
	params := strings.Split(query, "&")
	for i, p := range params {
		if key, _, ok := strings.Cut(p, "="); ok {
			params[i] = key + "=***"
		} else {
			params[i] = "***" // a bare word may be the token itself
		}
	}
	return before + "?" + strings.Join(params, "&")
}
