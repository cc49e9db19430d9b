// Package outbox is what the survey app imports to tell its customers' servers what happened.
//
// It owns the writing side of the table webhooks.outbox: the Event, the payloads of the documented event types, their
// validation, and Publish, which inserts events in the caller's own transaction through Watermill's SQL publisher.
//
// It promises that nothing is sent for a transaction that rolls back, that everything is sent for one that commits,
// that the bytes of Raw data are stored exactly as given, and that an event which could not be delivered is refused
// before it touches the transaction, with all of its faults named at once.
//
// It never begins, commits or rolls back a transaction, never makes a network call besides its one statement, never
// logs, and never reads the log: that is package commitlog.
//
// # Failure handling
//
// An *InvalidError leaves the transaction as it was. Any other error of Publish comes from the database, and
// PostgreSQL refuses all further statements of that transaction: roll it back. A commit whose answer was lost may or
// may not have happened; give every Event an ID of its own before the first try, and try the whole transaction again:
// the same ID is sent once.
package outbox
