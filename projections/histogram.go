package projections

import (
	"fmt"
	"math"

	"github.com/lib/pq"
)

// Histogram counts attempts by how long they took: the first count is of those under 1 ms, each further one of twice as
// long ones, and the last of 16.384 s or more.
type Histogram [16]int64 //nolint:recvcheck // values are asked, pointers scanned

// Count returns how many attempts are in it.
func (h Histogram) Count() (n int64) {
	for _, c := range h {
		n += c
	}
	return n
}

// QuantileMs estimates the time in milliseconds that the share q of the attempts did not exceed; it is nil without
// attempts. The true value lies in the same step as the estimate, so neither is twice the other; within the step the
// attempts are taken as spread evenly over its logarithm, which for many attempts errs by a few per cent.
func (h Histogram) QuantileMs(q float64) *float64 {
	rank := q * float64(h.Count())
	if rank <= 0 {
		return nil
	}
	below := 0.0
	for i, c := range h {
		if c > 0 && below+float64(c) >= rank {
			ms := math.Exp2(float64(i) - 1 + (rank-below)/float64(c))
			if i == 0 {
				ms = (rank - below) / float64(c) // the first step begins at 0, which has no logarithm
			}
			ms = math.Round(ms*10) / 10
			return &ms
		}
		below += float64(c)
	}
	return nil // not reached: the last step ends at the count
}

// Scan reads an array of its counts; NULL is none.
func (h *Histogram) Scan(src any) error {
	var counts pq.Int64Array
	if err := counts.Scan(src); err != nil {
		return fmt.Errorf("scan histogram: %w", err)
	}
	*h = Histogram{}
	if len(counts) != 0 && len(counts) != len(h) {
		return fmt.Errorf("scan histogram: it has %d counts: want %d", len(counts), len(h))
	}
	copy(h[:], counts)
	return nil
}
