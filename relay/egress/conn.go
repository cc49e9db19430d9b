package egress

import (
	"container/list"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"syscall"
	"time"
)

// dialTiming is what opening one connection took.
type dialTiming struct{ dns, connect, tls time.Duration }

// conn is a connection towards an endpoint. It remembers what opening it took and where it leads, so that a request
// learns both from the connection it got. One exchange at a time has it, or the pool.
type conn struct {
	net.Conn            // TCP, or TLS over it
	socket   net.Conn   // TCP
	probe    *quietness // nil if the socket is none of the system's
	timing   dialTiming
	remote   string
	host     hostKey
	reused   bool // an exchange had it before this one

	idleSince time.Time     // the pool's
	place     *list.Element // the pool's
}

func newConn(socket net.Conn, timing dialTiming) *conn {
	return &conn{Conn: socket, socket: socket, probe: newQuietness(socket), timing: timing, remote: socket.RemoteAddr().String()}
}

// Close closes the socket without TLS's farewell, which would wait for an endpoint that reads nothing.
func (k *conn) Close() error { return k.socket.Close() }

// cut ends what is under way. It is for another goroutine than the exchange's.
func (k *conn) cut() { _ = k.socket.SetDeadline(time.Unix(1, 0)) }

// drained reports whether all that came was read, but for what the socket shows (see quiet). TLS reads whole records and
// more, and keeps what nobody asked it for: a read that may not wait hands that out.
func (k *conn) drained() bool {
	if _, ok := k.Conn.(*tls.Conn); !ok {
		return true
	}
	if k.SetReadDeadline(time.Unix(1, 0)) != nil {
		return false
	}
	var one [1]byte
	n, err := k.Read(one[:])
	return n == 0 && errors.Is(err, os.ErrDeadlineExceeded)
}

// quiet reports whether an idle connection is as it was left: not closed, and nothing on it that nobody asked for.
func (k *conn) quiet() bool { return k.probe == nil || k.probe.ask() }

// quietness looks at what a socket would read. It is kept with the connection, so that a look allocates nothing.
type quietness struct {
	raw   syscall.RawConn
	look  func(fd uintptr) bool
	quiet bool
}

func newQuietness(socket net.Conn) *quietness {
	sys, ok := socket.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sys.SyscallConn()
	if err != nil {
		return nil
	}
	q := &quietness{raw: raw}
	q.look = func(fd uintptr) bool {
		var one [1]byte
		_, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK)
		q.quiet = errors.Is(err, syscall.EAGAIN)
		return true // whatever it saw, it does not wait
	}
	return q
}

func (q *quietness) ask() bool {
	q.quiet = false
	return q.raw.Read(q.look) == nil && q.quiet
}
