package access

import (
	"context"
	"math/rand/v2"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

// turnsOf are requests' turns, of a company and of one of its tokens.
func turnsOf(of *turns, company uuid.UUID, token byte) turn {
	t := turn{of: of, seats: []seat{{token: [32]byte{token}}}}
	if company != uuid.Nil {
		t.seats = append(t.seats, seat{company: company})
	}
	return t
}

// TestACompanyHasHalfOfTheConnectionsAndATokenAQuarter: who has to wait longer than a moment is refused, and a place that
// is given back is the next one's, once.
func TestACompanyHasHalfOfTheConnectionsAndATokenAQuarter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		all, mine := newTurns(), uuid.New()
		var ends []func()
		const half = Connections / 2
		for token := byte(1); token <= half/tokenTurns; token++ {
			for range tokenTurns {
				end, err := turnsOf(all, mine, token).take(t.Context(), turnWithin)
				require.NoError(t, err)
				ends = append(ends, end)
			}
			began := time.Now()
			_, err := turnsOf(all, uuid.Nil, token).take(t.Context(), turnWithin)
			require.ErrorIs(t, err, ErrBusy)
			require.Equal(t, turnWithin, time.Since(began))
		}
		require.Len(t, ends, half)
		_, err := turnsOf(all, mine, 99).take(t.Context(), turnWithin)
		require.ErrorIs(t, err, ErrBusy, "another token of the company")
		end, err := turnsOf(all, uuid.New(), 98).take(t.Context(), turnWithin)
		require.NoError(t, err, "another company")
		end()

		waited := make(chan error)
		go func() {
			end, err := turnsOf(all, mine, 99).take(t.Context(), 0)
			if err == nil {
				end()
			}
			waited <- err
		}()
		time.Sleep(time.Hour) // an answer that has begun waits as long as it lasts
		ends[0]()
		ends[0]()
		require.NoError(t, <-waited)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		end, err = turnsOf(all, mine, 1).take(ended, 0)
		require.NoError(t, err, "one is free")
		_, err = turnsOf(all, mine, 2).take(ended, 0)
		require.ErrorIs(t, err, context.Canceled)
		end()
		for _, end := range ends {
			end()
		}
		require.Empty(t, all.shares, "nothing is remembered of who has nothing")
		require.Empty(t, all.line)
		require.Equal(t, Connections, all.free)
	})
}

// TestHoweverManyFloodOthersHaveTheirTurn: each flooding company wants all that there is, all the time, and gives back what it
// has in any order. Whoever has nothing is given the next one that is free, before those who have something.
func TestHoweverManyFloodOthersHaveTheirTurn(t *testing.T) {
	t.Parallel()
	for floods, want := range map[int]struct{ each, free int }{1: {4, 4}, 2: {3, 2}, 3: {2, 2}, 7: {1, 1}, 8: {1, 0}, 20: {1, 0}} {
		t.Run(strconv.Itoa(floods), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				all := newTurns()
				flooding, stop := context.WithCancel(t.Context())
				companies := make([]uuid.UUID, floods)
				for i := range companies {
					companies[i] = uuid.New()
					for token := range byte(3 * Connections) {
						mine := turn{all, []seat{{token: [32]byte{byte(i), token, 1}}, {company: companies[i]}}}
						go func() {
							for flooding.Err() == nil {
								end, err := mine.take(flooding, 0)
								if err != nil {
									return
								}
								time.Sleep(time.Duration(1+rand.IntN(100)) * time.Millisecond)
								end()
							}
						}()
					}
				}
				time.Sleep(time.Second)
				synctest.Wait()
				require.Equal(t, want.free, all.free)
				for _, company := range companies {
					require.LessOrEqual(t, all.shares[seat{company: company}].taken, want.each)
				}
				for range 50 {
					began := time.Now()
					end, err := turnsOf(all, uuid.New(), 255).take(t.Context(), turnWithin)
					require.NoError(t, err)
					if floods < Connections {
						require.Zero(t, time.Since(began), "one is left")
					}
					time.Sleep(10 * time.Millisecond)
					end()
				}
				stop()
				time.Sleep(time.Second)
				synctest.Wait()
				require.Empty(t, all.shares)
				require.Equal(t, Connections, all.free)
			})
		})
	}
}

// TestTheLineIsBounded: a flood is refused at once, and costs no memory.
func TestTheLineIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		all := newTurns()
		ended, cancel := context.WithCancel(t.Context())
		refused := make(chan error, tokenTurns+mostInLine)
		for range cap(refused) {
			go func() {
				_, err := turnsOf(all, uuid.Nil, 1).take(ended, time.Hour)
				refused <- err
			}()
		}
		synctest.Wait()
		began := time.Now()
		_, err := turnsOf(all, uuid.Nil, 1).take(t.Context(), turnWithin)
		require.ErrorIs(t, err, ErrBusy)
		require.Zero(t, time.Since(began))
		cancel()
		synctest.Wait()
		left := all.shares[seat{token: [32]byte{1}}]
		require.Equal(t, tokenTurns, left.taken)
		require.Zero(t, left.waiting)
	})
}

// TestWithoutAGateEverybodyHasATurn, as tests and other servers of the handlers do.
func TestWithoutAGateEverybodyHasATurn(t *testing.T) {
	t.Parallel()
	for range 2 * Connections {
		_, err := Turn(t.Context())
		require.NoError(t, err)
	}
}
