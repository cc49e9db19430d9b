package relay

import (
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/relay/lane"
)

// TestANoticeNamesALaneOnce: a small page with several events for each of many endpoints still fits a notice, instead of
// waking all lanes there are.
func TestANoticeNamesALaneOnce(t *testing.T) {
	t.Parallel()
	var b born
	want := map[string]bool{}
	for range 150 {
		endpoint := uuid.New()
		want[endpoint.String()] = true
		for range offeredEvents {
			b.deliveries = append(b.deliveries, &lane.Delivery{EndpointID: endpoint})
		}
		b.endpoints = append(b.endpoints, endpoint)
	}
	names := strings.Fields(b.names())
	require.Len(t, names, len(want))
	for _, name := range names {
		require.Contains(t, want, name)
	}
	require.Less(t, len(workPrefix+b.names()), 8000)
	for range 51 {
		b.endpoints = append(b.endpoints, uuid.New())
	}
	require.Empty(t, b.names(), "201 lanes are all lanes")
}
