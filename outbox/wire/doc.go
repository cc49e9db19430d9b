// Package wire is what a receiver sees of an event: the bytes of the body, and the names and values of the headers.
//
// It promises that the same event and the same time of its first attempt give the same bytes, for ever and in every
// process: the relay sends them, and the history shows them again without having kept them. It does no I/O and keeps
// no state; what it is given it never changes.
package wire
