package egress

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func BenchmarkDo(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusOK)
	}))
	defer server.Close()
	policy := Policy{Insecure: true}
	u, err := policy.ParseURL(server.URL)
	if err != nil {
		b.Fatal(err)
	}
	client := NewClient(Config{Policy: policy})
	defer client.Close()
	body := bytes.Repeat([]byte("x"), 1024)
	fields := []Field{
		{Name: "Content-Type", Value: "application/json"},
		{Name: "User-Agent", Value: "HS-Webhook/1.0"},
		{Name: "Accept-Encoding", Value: "identity"},
		{Name: "X-Webhook-Event", Value: "conversation.completed"},
		{Name: "X-Webhook-ID", Value: "0196b3c0-0000-7000-8000-000000000000"},
		{Name: "X-Webhook-Timestamp", Value: "1700000000"},
		{Name: "webhook-id", Value: "0196b3c0-0000-7000-8000-000000000000"},
		{Name: "webhook-timestamp", Value: "1700000000"},
		{Name: "webhook-signature", Value: strings.Repeat("s", 47)},
	}
	b.ReportAllocs()
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			got := client.Do(context.Background(), &Request{
				URL:    u,
				Header: fields, Body: body,
			})
			if got.Status != http.StatusOK {
				b.Errorf("fault %s: %s", got.Fault, got.Detail)
				return
			}
		}
	})
}
