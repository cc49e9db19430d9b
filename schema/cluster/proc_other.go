//go:build !linux

package cluster

import "syscall"

// procAttr gives the server its own process group, so that Ctrl-C reaches us first. There is no death signal here: an
// orphan runs on until the next Start attaches to it.
func procAttr(h home, detached bool) *syscall.SysProcAttr {
	if detached {
		return &syscall.SysProcAttr{Setsid: true, Credential: h.credential()}
	}
	return &syscall.SysProcAttr{Setpgid: true, Credential: h.credential()}
}
