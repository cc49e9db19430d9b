package commitlog

import (
	"context"
	"net"
	"time"

	"github.com/lib/pq"
)

// vanishedAfter is how long a server may leave unacknowledged what it was sent. It is well below a lease.
const vanishedAfter = 20 * time.Second

// dialer is pq's, of connections that notice a server which vanished.
type dialer struct{ net.Dialer }

var (
	_ pq.Dialer        = (*dialer)(nil)
	_ pq.DialerContext = (*dialer)(nil)
)

// Dialer connects to PostgreSQL. When the server vanishes without a word (its machine is lost, a route swallows everything),
// TCP waits a quarter of an hour for the receipt of a query, and with it whoever asked; these connections wait 20 s. A
// query that takes long is none of that: its receipt comes at once. Linux alone can be told so.
func Dialer() pq.Dialer { return &dialer{net.Dialer{Control: boundReceipt}} }

// DialTimeout connects within timeout.
func (d *dialer) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return d.DialContext(ctx, network, address)
}
