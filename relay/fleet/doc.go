// Package fleet is the running relays as a whole: which there are, and what operators order them.
//
// It owns the table pause and, of the table relays, the columns of draining; a relay's own row is the relay's. It
// promises that an order is noticed by every relay at once, by a notice that is sent with the order's commit, and at the
// next heartbeat when that notice is lost. It never carries an order out: relays ask for theirs, and obey.
//
// # The orders
//
//	pause    nobody starts an attempt, tests included; events become deliveries, attempts under way end. It is a row, and
//	         outlives every process
//	drain    one relay hands its lanes over and takes none. It is on that relay's row, and ends with it
package fleet
