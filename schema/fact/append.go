package fact

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strconv"
	"time"
)

// AppendJSON appends what json.Marshal makes of the attempt, much faster: there is one for every request
// ever sent. A test holds the two together.
func (a *Attempt) AppendJSON(b []byte) []byte {
	b = strconv.AppendInt(append(b, `{"delivery_id":`...), a.DeliveryID, 10)
	b = strconv.AppendInt(append(b, `,"attempt":`...), int64(a.Attempt), 10)
	b = append(append(b, `,"endpoint_id":"`...), a.EndpointID.String()...)
	b = append(append(b, `","event_id":"`...), a.EventID.String()...)
	b = appendString(append(b, `","event_type":`...), a.EventType)
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
	b = appendTime(append(b, `,"first_attempt_at":`...), a.FirstAttemptAt)
	if a.NextAttemptAt != nil {
		b = appendTime(append(b, `,"next_attempt_at":`...), *a.NextAttemptAt)
	}
	b = a.Request.appendJSON(append(b, `,"request":`...))
	b = a.Response.appendJSON(append(b, `,"response":`...))
	if a.RemoteAddr != "" {
		b = appendString(append(b, `,"remote_addr":`...), a.RemoteAddr)
	}
	b = a.Timing.appendJSON(append(b, `,"timing_us":`...))
	return append(b, '}')
}

func (r *Request) appendJSON(b []byte) []byte {
	b = strconv.AppendInt(append(b, `{"config_version":`...), int64(r.ConfigVersion), 10)
	b = appendString(append(b, `,"url":`...), r.URL)
	b = appendInt(b, `,"timestamp":`, r.Timestamp)
	if r.Signature != "" {
		b = appendString(append(b, `,"signature":`...), r.Signature)
	}
	b = appendInt(b, `,"bytes":`, int64(r.Bytes))
	return append(b, '}')
}

func (r *Response) appendJSON(b []byte) []byte {
	b = append(b, '{')
	start := len(b)
	if len(r.Headers) > 0 {
		b = appendHeaders(append(b, `,"headers":`...), r.Headers)
	}
	if len(r.Body) > 0 {
		b = append(b, `,"body":"`...)
		b = append(base64.StdEncoding.AppendEncode(b, r.Body), '"')
	}
	if r.Truncated {
		b = append(b, `,"truncated":true`...)
	}
	return append(dropComma(b, start), '}')
}

func (t *Timing) appendJSON(b []byte) []byte {
	b = append(b, '{')
	start := len(b)
	b = appendInt(b, `,"dns":`, t.DNS)
	b = appendInt(b, `,"connect":`, t.Connect)
	b = appendInt(b, `,"tls":`, t.TLS)
	b = appendInt(b, `,"first_byte":`, t.FirstByte)
	b = appendInt(b, `,"total":`, t.Total)
	return append(dropComma(b, start), '}')
}

// dropComma removes the comma before the first member of an object that began at start.
func dropComma(b []byte, start int) []byte {
	if len(b) == start {
		return b
	}
	return slices.Delete(b, start, start+1)
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
