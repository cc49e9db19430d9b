package fact

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
)

// AppendJSON appends what json.Marshal makes of the attempt, much faster: there is one for every request
// ever sent. A test holds the two together.
func (a *Attempt) AppendJSON(b []byte) []byte {
	b = strconv.AppendInt(append(b, `{"delivery_id":`...), a.DeliveryID, 10)
	b = strconv.AppendInt(append(b, `,"attempt":`...), int64(a.Attempt), 10)
	b = appendUUID(append(b, `,"endpoint_id":`...), a.EndpointID)
	b = appendUUID(append(b, `,"event_id":`...), a.EventID)
	b = appendString(append(b, `,"event_type":`...), a.EventType)
	b = strconv.AppendInt(append(b, `,"generation":`...), int64(a.Generation), 10)
	b = appendString(append(b, `,"trigger":`...), string(a.Trigger))
	b = appendTime(append(b, `,"started_at":`...), a.StartedAt)
	b = appendString(append(b, `,"reason":`...), string(a.Reason))
	if a.Detail != "" {
		b = appendString(append(b, `,"detail":`...), a.Detail)
	}
	b = appendInt(b, `,"status":`, int64(a.Status))
	b = strconv.AppendInt(append(b, `,"completed":`...), int64(a.Completed), 10)
	b = appendString(append(b, `,"state":`...), string(a.State))
	if !a.FirstAttemptAt.IsZero() {
		b = appendTime(append(b, `,"first_attempt_at":`...), a.FirstAttemptAt)
	}
	if a.NextAttemptAt != nil {
		b = appendTime(append(b, `,"next_attempt_at":`...), *a.NextAttemptAt)
	}
	b = strconv.AppendInt(append(b, `,"config_version":`...), int64(a.ConfigVersion), 10)
	b = appendString(append(b, `,"url":`...), a.URL)
	b = appendInt(b, `,"request_timestamp":`, a.Timestamp)
	if a.Signature != "" {
		b = appendString(append(b, `,"request_signature":`...), a.Signature)
	}
	b = appendInt(b, `,"request_bytes":`, int64(a.Bytes))
	if len(a.CustomHeaders) > 0 {
		b = append(b, `,"request_headers":`...)
		for i, name := range slices.Sorted(maps.Keys(a.CustomHeaders)) {
			b = append(b, "{,"[min(i, 1)])
			b = append(appendString(b, name), ':')
			b = appendString(b, a.CustomHeaders[name])
		}
		b = append(b, '}')
	}
	if len(a.Headers) > 0 {
		b = appendHeaders(append(b, `,"response_headers":`...), a.Headers)
	}
	if len(a.Body) > 0 {
		b = append(b, `,"response_body":"`...)
		b = append(base64.StdEncoding.AppendEncode(b, a.Body), '"')
	}
	if a.Truncated {
		b = append(b, `,"response_truncated":true`...)
	}
	if a.RemoteAddr != "" {
		b = appendString(append(b, `,"remote_addr":`...), a.RemoteAddr)
	}
	b = appendInt(b, `,"dns_us":`, a.DNS)
	b = appendInt(b, `,"connect_us":`, a.Connect)
	b = appendInt(b, `,"tls_us":`, a.TLS)
	b = appendInt(b, `,"first_byte_us":`, a.FirstByte)
	b = appendInt(b, `,"total_us":`, a.Total)
	return append(b, '}')
}

func appendHeaders(b []byte, headers map[string][]string) []byte {
	names := make([]string, 0, len(headers))
	for name := range headers {
		names = append(names, name)
	}
	slices.Sort(names)
	for i, name := range names {
		b = append(b, "{,"[min(i, 1)])
		b = append(appendString(b, name), ':')
		if headers[name] == nil {
			b = append(b, "null"...)
			continue
		}
		b = append(b, '[')
		for j, value := range headers[name] {
			if j > 0 {
				b = append(b, ',')
			}
			b = appendString(b, value)
		}
		b = append(b, ']')
	}
	return append(b, '}')
}

// appendInt appends a member unless it is zero.
func appendInt(b []byte, member string, n int64) []byte {
	if n == 0 {
		return b
	}
	return strconv.AppendInt(append(b, member...), n, 10)
}

func appendUUID(b []byte, id uuid.UUID) []byte {
	b = hex.AppendEncode(append(b, '"'), id[:4])
	b = hex.AppendEncode(append(b, '-'), id[4:6])
	b = hex.AppendEncode(append(b, '-'), id[6:8])
	b = hex.AppendEncode(append(b, '-'), id[8:10])
	b = hex.AppendEncode(append(b, '-'), id[10:])
	return append(b, '"')
}

func appendTime(b []byte, t time.Time) []byte {
	b = t.AppendFormat(append(b, '"'), time.RFC3339Nano)
	return append(b, '"')
}

// appendString appends a string that needs no escaping as it is, and leaves every other one to encoding/json.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, _ := json.Marshal(s) //nolint:errchkjson // a string always encodes
			return append(b, quoted...)
		}
	}
	b = append(append(b, '"'), s...)
	return append(b, '"')
}
