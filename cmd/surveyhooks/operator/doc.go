// Package operator is what operators see of the whole installation, and do to it: pause and resume all sending, drain a
// relay, have the history verified or made again.
//
// It owns the table rebuilds. It promises that each act and the line of the access trail about it are one transaction,
// whichever door it came through (pages, API, command line), and that an act that is done already changes nothing and answers
// with what is stored. Who the caller is, the door has found out before.
//
// # A rebuild
//
//	          end of the work
//	running ───────────────────▶ done, failed
//	   │ its process stops, or has been silent for a while
//	   └───────────────────────▶ interrupted
//
// It is a job of the process that was asked. One runs at a time, whatever the number of processes. It first compares
// beside the live history, which goes on; only when that differs, and the job may, the rows are replaced, while the
// projector stands by.
//
// # Failure handling
//
// A job leaves nothing behind when it fails, is interrupted, or its process dies: it works in one transaction. It is
// never begun again by itself.
package operator
