package egress

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
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
	part := bytes.Repeat([]byte("x"), 512)
	b.ReportAllocs()
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			got := client.Do(context.Background(), &Request{
				URL: u,
				Header: http.Header{
					"Accept-Encoding": {"identity"}, "Content-Type": {"application/json"},
					"User-Agent": {"surveyhooks"}, "Webhook-Id": {"0196b3c0-0000-7000-8000-000000000000"},
				},
				Body: [][]byte{part, part},
			})
			if got.Status != http.StatusOK {
				b.Errorf("fault %s: %s", got.Fault, got.Detail)
				return
			}
		}
	})
}
