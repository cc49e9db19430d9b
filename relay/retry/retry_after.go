package retry

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// longestHeader is far above any honest Retry-After: an RFC 850 date has at
// most 33 characters.
const longestHeader = 64

// ParseRetryAfter reads a Retry-After header (RFC 9110 section 10.2.3): whole
// seconds, or an HTTP date counted from now. A date in the past gives 0, and
// anything beyond 30 days gives 30 days. ok is false when the header is
// neither: empty, negative, fractional or garbage; the schedule alone then
// decides.
func ParseRetryAfter(header string, now time.Time) (wait time.Duration, ok bool) {
	header = strings.Trim(header, " \t")
	if header == "" || len(header) > longestHeader {
		return 0, false
	}
	if strings.Trim(header, "0123456789") == "" {
		seconds, err := strconv.ParseInt(header, 10, 64)
		// All digits, so the only possible error is a number out of range.
		if err != nil || seconds > int64(longest/time.Second) {
			return longest, true
		}
		return time.Duration(seconds) * time.Second, true
	}
	date, err := http.ParseTime(header)
	if err != nil {
		return 0, false
	}
	return min(max(date.Sub(now), 0), longest), true
}
