package commitlog

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/schema/schematest"
)

// BenchmarkRoundTrip is what any statement costs at least: at once, and after the pause of a trickle.
func BenchmarkRoundTrip(b *testing.B) {
	for _, idle := range []time.Duration{0, 20 * time.Millisecond} {
		b.Run("idle="+idle.String(), func(b *testing.B) {
			db, err := Open(schematest.New(b).DSN, "bench", 1, nil)
			require.NoError(b, err)
			defer db.Close()
			for b.Loop() {
				b.StopTimer()
				<-time.After(idle) // what is measured is what comes after it
				b.StartTimer()
				var n int
				require.NoError(b, db.QueryRow(`SELECT $1::int`, 1).Scan(&n))
			}
		})
	}
}
