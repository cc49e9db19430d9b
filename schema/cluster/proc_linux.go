package cluster

import "syscall"

// procAttr gives the server its own process group, so that Ctrl-C reaches us first, and the signal for a fast
// shutdown when the thread that started it dies.
func procAttr(h home, detached bool) *syscall.SysProcAttr {
	if detached {
		return &syscall.SysProcAttr{Setsid: true, Credential: h.credential()}
	}
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGINT, Credential: h.credential()}
}
