package breaker

import (
	"errors"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// attempt makes one whole attempt, which the breaker must allow.
func attempt(t require.TestingT, b *Breaker, v Verdict) {
	permit, err := b.Allow()
	require.NoError(t, err)
	permit.Done(v)
}

func trip(t require.TestingT, b *Breaker) {
	for range defaultFailures {
		attempt(t, b, EndpointFault)
	}
	require.Equal(t, Open, b.State())
}

func requireOpenUntil(t *testing.T, b *Breaker, until time.Time) {
	t.Helper()
	_, err := b.Allow()
	var open *OpenError
	require.ErrorAs(t, err, &open)
	require.True(t, until.Equal(open.Until), "open until %v, want %v", open.Until, until)
	require.True(t, until.Equal(b.ReadyAt()))
	require.Equal(t, Open, b.State())
	require.True(t, until.Equal(b.Snapshot().OpenUntil))
}

func TestClosed(t *testing.T) {
	t.Parallel()

	t.Run("TripsAfterFiveFaultsInARow", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b := New(Config{}, Snapshot{})
			for range 4 {
				attempt(t, b, EndpointFault)
				require.Equal(t, Snapshot{}, b.Snapshot())
				require.Zero(t, b.ReadyAt())
			}
			attempt(t, b, EndpointFault)
			requireOpenUntil(t, b, time.Now().Add(30*time.Second))
		})
	})
	t.Run("ASuccessStartsTheCountAgain", func(t *testing.T) {
		t.Parallel()
		b := New(Config{}, Snapshot{})
		for range 4 {
			attempt(t, b, EndpointFault)
		}
		attempt(t, b, Success)
		for range 4 {
			attempt(t, b, EndpointFault)
		}
		require.Equal(t, Closed, b.State())
	})
	t.Run("ExcludedNeverCounts", func(t *testing.T) {
		t.Parallel()
		b := New(Config{}, Snapshot{})
		for range 4 {
			attempt(t, b, EndpointFault)
		}
		for range 100 {
			attempt(t, b, Excluded)
		}
		require.Equal(t, Closed, b.State())
		attempt(t, b, EndpointFault) // Nor did it break the row.
		require.Equal(t, Open, b.State())
	})
	t.Run("DoneCountsOnce", func(t *testing.T) {
		t.Parallel()
		b := New(Config{}, Snapshot{})
		permit, err := b.Allow()
		require.NoError(t, err)
		for range 10 {
			permit.Done(EndpointFault)
		}
		require.Equal(t, Closed, b.State())
		(*Permit)(nil).Done(EndpointFault)
	})
	t.Run("VerdictsFromBeforeTheTripAreDropped", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b := New(Config{}, Snapshot{})
			slow, err := b.Allow()
			require.NoError(t, err)
			trip(t, b)
			until := b.ReadyAt()
			slow.Done(Success)
			requireOpenUntil(t, b, until)
		})
	})
	t.Run("ConfigDecidesHowManyAndHowLong", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b := New(Config{Failures: 1, Open: time.Hour}, Snapshot{})
			attempt(t, b, EndpointFault)
			requireOpenUntil(t, b, time.Now().Add(time.Hour))
		})
	})
}

func TestHalfOpen(t *testing.T) {
	t.Parallel()

	// halfOpen trips a breaker, waits, and takes the probe.
	halfOpen := func(t *testing.T) (*Breaker, *Permit) {
		t.Helper()
		b := New(Config{}, Snapshot{})
		trip(t, b)
		until := b.ReadyAt()
		<-time.After(30*time.Second - 1) // of the bubble
		requireOpenUntil(t, b, until)
		<-time.After(time.Nanosecond)
		require.Equal(t, HalfOpen, b.State())
		require.Zero(t, b.ReadyAt())
		probe, err := b.Allow()
		require.NoError(t, err)
		return b, probe
	}
	t.Run("OneProbeAtATime", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b, probe := halfOpen(t)
			for range 3 {
				_, err := b.Allow()
				require.ErrorIs(t, err, ErrProbing)
			}
			time.Sleep(time.Hour) // Time alone frees nothing.
			_, err := b.Allow()
			require.ErrorIs(t, err, ErrProbing)
			probe.Done(Excluded)
		})
	})
	t.Run("SuccessCloses", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b, probe := halfOpen(t)
			probe.Done(Success)
			require.Equal(t, Snapshot{}, b.Snapshot())
			for range 4 { // The count begins anew.
				attempt(t, b, EndpointFault)
			}
			require.Equal(t, Closed, b.State())
		})
	})
	t.Run("FaultReopensForTheWholeTime", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b, probe := halfOpen(t)
			time.Sleep(7 * time.Second)
			probe.Done(EndpointFault)
			requireOpenUntil(t, b, time.Now().Add(30*time.Second))
		})
	})
	t.Run("ExcludedFreesTheSlotAndMovesNothing", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b, probe := halfOpen(t)
			probe.Done(Excluded)
			for range 10 {
				require.Equal(t, HalfOpen, b.State())
				attempt(t, b, Excluded)
			}
			attempt(t, b, Success)
			require.Equal(t, Closed, b.State())
		})
	})
	t.Run("DeferFreesTheSlotOfGoexitAndPanic", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b, probe := halfOpen(t)
			probe.Done(Excluded)
			for _, leave := range []func(){runtime.Goexit, func() { panic("handler") }} {
				gone := make(chan struct{})
				go func() {
					defer close(gone)
					defer func() { _ = recover() }()
					permit, err := b.Allow()
					if err != nil {
						return
					}
					defer permit.Done(Excluded)
					leave()
				}()
				<-gone
				require.Equal(t, HalfOpen, b.State())
			}
			attempt(t, b, Success)
			require.Equal(t, Closed, b.State())
		})
	})
	t.Run("AnEarlierVerdictBeatsTheDeferredOne", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b, probe := halfOpen(t)
			func() {
				defer probe.Done(Excluded)
				probe.Done(Success)
			}()
			require.Equal(t, Closed, b.State())
		})
	})
}

func TestRestore(t *testing.T) {
	t.Parallel()

	probesAtOnce := func(t *testing.T, snap Snapshot) {
		t.Helper()
		b := New(Config{}, snap)
		require.Equal(t, HalfOpen, b.State())
		probe, err := b.Allow()
		require.NoError(t, err)
		_, err = b.Allow()
		require.ErrorIs(t, err, ErrProbing)
		probe.Done(EndpointFault)
		requireOpenUntil(t, b, time.Now().Add(30*time.Second))
	}

	t.Run("OpenStaysOpenUntilItsTimeAndThenProbes", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			until := time.Now().Add(5 * time.Minute) // Not our Config.Open: the one that was stored.
			b := New(Config{}, Snapshot{Open, until})
			require.Equal(t, Snapshot{Open, until.Round(0)}, b.Snapshot())
			time.Sleep(5*time.Minute - 1)
			requireOpenUntil(t, b, until)
			time.Sleep(time.Nanosecond)
			probe, err := b.Allow()
			require.NoError(t, err)
			_, err = b.Allow()
			require.ErrorIs(t, err, ErrProbing)
			probe.Done(Success)
			require.Equal(t, Closed, b.State())
		})
	})
	t.Run("OneNanosecondIsLongEnough", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b := New(Config{}, Snapshot{Open, time.Now().Add(1)})
			time.Sleep(2 * time.Nanosecond)
			attempt(t, b, Success)
			require.Equal(t, Closed, b.State())
		})
	})
	t.Run("OpenWithItsTimePastProbesAtOnce", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			probesAtOnce(t, Snapshot{Open, time.Now().Add(-time.Hour)})
		})
	})
	t.Run("OpenUntilNowProbesAtOnce", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			probesAtOnce(t, Snapshot{Open, time.Now()})
		})
	})
	t.Run("OpenWithoutATimeProbesAtOnce", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			probesAtOnce(t, Snapshot{State: Open})
		})
	})
	t.Run("HalfOpenOwesAProbe", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			probesAtOnce(t, Snapshot{HalfOpen, time.Now().Add(-time.Second)})
		})
	})
	t.Run("ClosedIsAFreshOne", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b := New(Config{}, Snapshot{State: Closed})
			require.Equal(t, Snapshot{}, b.Snapshot())
			trip(t, b)
		})
	})
	t.Run("ATakeoverKeepsTheDeadline", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			first := New(Config{}, Snapshot{})
			trip(t, first)
			until := first.ReadyAt()
			time.Sleep(10 * time.Second)
			second := New(Config{}, first.Snapshot())
			requireOpenUntil(t, second, until)
		})
	})
	t.Run("NobodyIsTold", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			New(Config{OnChange: func(State, State, Snapshot) { t.Error("restoring is no change") }},
				Snapshot{Open, time.Now()})
		})
	})
}

func TestClockIsTheConfigs(t *testing.T) {
	t.Parallel()

	synctest.Test(t, func(t *testing.T) {
		now := time.Date(2024, 3, 6, 12, 0, 0, 0, time.UTC)
		b := New(Config{Now: func() time.Time { return now }}, Snapshot{})
		trip(t, b)
		time.Sleep(time.Hour) // The machine's clock decides nothing.
		requireOpenUntil(t, b, now.Add(30*time.Second))
		now = now.Add(30 * time.Second)
		attempt(t, b, Success)
		require.Equal(t, Closed, b.State())
	})
}

type told struct {
	from, to State
	snap     Snapshot
}

func TestOnChange(t *testing.T) {
	t.Parallel()

	t.Run("TellsEveryChangeAndMayCallBack", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			var b *Breaker
			var heard []told
			b = New(Config{OnChange: func(from, to State, snap Snapshot) {
				heard = append(heard, told{from, to, snap})
				b.State() // A held mutex would deadlock here.
				b.ReadyAt()
				if permit, err := b.Allow(); err == nil {
					permit.Done(Excluded)
				}
			}}, Snapshot{})

			trip(t, b)
			until := time.Now().Add(30 * time.Second).Round(0)
			time.Sleep(30 * time.Second)
			attempt(t, b, EndpointFault)
			again := time.Now().Add(30 * time.Second).Round(0)
			time.Sleep(30 * time.Second)
			attempt(t, b, Success)

			require.Equal(t, []told{
				{Closed, Open, Snapshot{Open, until}},
				{Open, HalfOpen, Snapshot{HalfOpen, until}},
				{HalfOpen, Open, Snapshot{Open, again}},
				{Open, HalfOpen, Snapshot{HalfOpen, again}},
				{HalfOpen, Closed, Snapshot{}},
			}, heard)
		})
	})
	t.Run("AChangeMadeInTheHookIsToldAfterIt", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			var b *Breaker
			var to []State
			b = New(Config{OnChange: func(_, state State, _ Snapshot) {
				if state == Open {
					time.Sleep(30 * time.Second)
					attempt(t, b, Success)
				}
				to = append(to, state)
			}}, Snapshot{})
			for range defaultFailures {
				attempt(t, b, EndpointFault)
			}
			require.Equal(t, []State{Open, HalfOpen, Closed}, to)
		})
	})
	t.Run("APanicInItLosesNoPermit", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			var to []State
			b := New(Config{OnChange: func(_, state State, _ Snapshot) {
				to = append(to, state)
				if state == HalfOpen {
					panic("hook")
				}
			}}, Snapshot{Open, time.Now()})
			require.PanicsWithValue(t, "hook", func() { _, _ = b.Allow() })
			attempt(t, b, Success)
			require.Equal(t, []State{HalfOpen, Closed}, to)
		})
	})
}

func TestConcurrentCallersShareOneProbe(t *testing.T) {
	t.Parallel()

	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var to []State
		b := New(Config{OnChange: func(_, state State, _ Snapshot) {
			mu.Lock()
			defer mu.Unlock()
			to = append(to, state)
		}}, Snapshot{Open, time.Now().Add(time.Minute)})
		time.Sleep(time.Minute)

		permits := make(chan *Permit, 50)
		var wg sync.WaitGroup
		for range cap(permits) {
			wg.Go(func() {
				permit, err := b.Allow()
				if err == nil {
					permits <- permit
				} else if !errors.Is(err, ErrProbing) {
					t.Errorf("got %v, want ErrProbing", err)
				}
			})
		}
		wg.Wait()
		require.Len(t, permits, 1)
		(<-permits).Done(Success)
		mu.Lock()
		defer mu.Unlock()
		require.Equal(t, []State{HalfOpen, Closed}, to)
	})
}

// TestBehavesLikeItsModel runs random histories, with a restart after any step,
// against the rules written down plainly.
func TestBehavesLikeItsModel(t *testing.T) {
	t.Parallel()

	rapid.Check(t, func(t *rapid.T) {
		now := time.Now()
		cfg := Config{Now: func() time.Time { return now }}
		b := New(cfg, Snapshot{})
		state, faults, until := Closed, 0, time.Time{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch step := rapid.IntRange(0, 9).Draw(t, "step"); {
			case step == 0:
				b, faults = New(cfg, b.Snapshot()), 0
			case step <= 2:
				now = now.Add(time.Duration(rapid.IntRange(0, 20).Draw(t, "seconds")) * time.Second)
			case state == Open:
				_, err := b.Allow()
				var open *OpenError
				require.ErrorAs(t, err, &open)
				require.True(t, until.Equal(open.Until))
			default:
				v := rapid.SampledFrom([]Verdict{Excluded, Success, EndpointFault, EndpointFault, EndpointFault}).Draw(t, "verdict")
				attempt(t, b, v)
				switch v {
				case Success:
					state, faults, until = Closed, 0, time.Time{}
				case EndpointFault:
					if faults++; faults == defaultFailures || state == HalfOpen {
						state, faults, until = Open, 0, now.Add(defaultOpen)
					}
				case Excluded:
				}
			}
			if state == Open && !now.Before(until) {
				state = HalfOpen
			}
			require.Equal(t, state, b.State())
			require.True(t, until.Equal(b.Snapshot().OpenUntil))
		}
	})
}
