package cluster

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/lib/pq"
)

const (
	superuser = "surveyhooks"
	port      = "5432" // only the name of the socket file; PGPORT must not change it
)

// home is the folder of a cluster and the user that its server runs as.
type home struct {
	dir      string
	socket   string // short and the same for every TMPDIR: sun_path holds 104 bytes on macOS
	uid, gid int
	drop     bool // we are root and the server must not be
}

// openHome settles user and folders, and makes the folders.
func openHome(config Config) (home, error) {
	dir := config.Dir
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return home{}, fmt.Errorf("find cache folder, or set Dir: %w", err)
		}
		dir = filepath.Join(cache, "surveyhooks", "postgres")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return home{}, fmt.Errorf("resolve folder: %w", err)
	}
	h := home{dir: dir, uid: os.Getuid(), gid: os.Getgid(), drop: os.Geteuid() == 0}
	if err := os.MkdirAll(h.dir, 0o755); err != nil { //nolint:gosec // the dropped user passes through; data is 0700
		return home{}, fmt.Errorf("make folder: %w", err)
	}
	if h.drop {
		if err := h.dropRoot(config.Logf); err != nil {
			return home{}, err
		}
	} else if owner, ok := h.dataOwner(); ok && owner != h.uid {
		return home{}, fmt.Errorf("the data in %s belongs to user %d and this is user %d: run as that user, or choose another folder", h.dir, owner, h.uid)
	}
	sum := sha256.Sum256([]byte(h.dir))
	h.socket = fmt.Sprintf("/tmp/surveyhooks-pg-%x", sum[:5])
	return h, h.own(h.socket)
}

// dropRoot chooses who runs the server for root: the owner of the data there is, else postgres, else nobody.
func (h *home) dropRoot(logf func(string, ...any)) error {
	u, err := user.Lookup("postgres")
	if err != nil {
		u, err = user.Lookup("nobody")
	}
	if err != nil {
		return errors.New("root cannot run PostgreSQL, and there is no user postgres or nobody to do it: add one, or run as another user")
	}
	h.uid, _ = strconv.Atoi(u.Uid) // numbers on every unix
	h.gid, _ = strconv.Atoi(u.Gid)
	if owner, ok := h.dataOwner(); ok && owner != 0 {
		h.uid = owner
	}
	if !reachable(h.dir, h.uid) {
		sum := sha256.Sum256([]byte(h.dir))
		moved := fmt.Sprintf("/var/tmp/surveyhooks-pg-%x", sum[:6])
		err := os.Mkdir(moved, 0o755) //nolint:gosec // as above
		if err == nil {
			logf("user %s cannot reach %s: using %s", u.Username, h.dir, moved)
		}
		h.dir = moved
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("make folder: %w", err)
		}
		// Anybody may make a name below /var/tmp: only a real folder of root is ours.
		if owner, err := folderOwner(moved); err != nil || owner != 0 {
			return fmt.Errorf("%s is not a folder of root: remove it (%w)", moved, err)
		}
		if err := os.Chmod(moved, 0o755); err != nil { //nolint:gosec // as above, whatever the umask
			return fmt.Errorf("open folder: %w", err)
		}
		if owner, ok := h.dataOwner(); ok && owner != 0 {
			h.uid = owner
		}
	}
	return nil
}

// own makes a folder that only the server's user can enter. A folder of somebody else is refused: a server that
// listens in it would not be ours.
func (h *home) own(dir string) error {
	err := os.Mkdir(dir, 0o700)
	made := err == nil
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make folder: %w", err)
	}
	owner, err := folderOwner(dir)
	if err != nil {
		return err
	}
	if owner != h.uid && owner != os.Geteuid() {
		return fmt.Errorf("%s belongs to user %d, not to %d: remove it", dir, owner, h.uid)
	}
	if made || owner != h.uid {
		if err := os.Chown(dir, h.uid, h.gid); err != nil {
			return fmt.Errorf("hand over folder: %w", err)
		}
	}
	return nil
}

// folders lists the finished data folders, of every major version.
func (h *home) folders() []string {
	found, _ := filepath.Glob(filepath.Join(globEscape(h.dir), "data-*[0-9]")) // the pattern is well formed
	return found
}

func (h *home) dataOwner() (int, bool) {
	for _, data := range h.folders() {
		if owner, err := folderOwner(data); err == nil {
			return owner, true
		}
	}
	return 0, false
}

// folderOwner is the owner of a real folder; a link is an error, since it may lead anywhere.
func folderOwner(dir string) (int, error) {
	st, err := os.Lstat(dir)
	if err != nil {
		return 0, fmt.Errorf("look at folder: %w", err)
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok || !st.IsDir() {
		return 0, fmt.Errorf("%s is not a folder: remove it", dir)
	}
	return int(sys.Uid), nil
}

// reachable reports whether user uid, who is not in our groups, can walk to path.
func reachable(path string, uid int) bool {
	for p := path; ; p = filepath.Dir(p) {
		if st, err := os.Stat(p); err == nil && st.Mode()&0o001 == 0 {
			sys, ok := st.Sys().(*syscall.Stat_t)
			if !ok || int(sys.Uid) != uid || st.Mode()&0o100 == 0 {
				return false
			}
		}
		if p == filepath.Dir(p) {
			return true
		}
	}
}

// globEscape makes a path mean itself in a pattern.
func globEscape(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

func (h *home) dsn(dbname string) string {
	quote := strings.NewReplacer(`\`, `\\`, `'`, `\'`)
	return fmt.Sprintf("host=%s port=%s user=%s dbname='%s' sslmode=disable", h.socket, port, superuser, quote.Replace(dbname))
}

// liveness is what a connection attempt says about the server.
type liveness int

const (
	silent  liveness = iota // nobody listens
	busy                    // starting up or shutting down
	answers                 // takes connections, or would if it had one left
)

func (h *home) probe(ctx context.Context) liveness {
	connector, err := pq.NewConnector(h.dsn("postgres"))
	if err != nil {
		return silent
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	err = db.PingContext(ctx)
	if pqErr, ok := errors.AsType[*pq.Error](err); ok {
		if pqErr.Code == "57P03" { // cannot_connect_now
			return busy
		}
		return answers
	}
	if err != nil {
		return silent
	}
	return answers
}

// credential drops root, and is nil when there is nothing to drop.
func (h *home) credential() *syscall.Credential {
	if !h.drop {
		return nil
	}
	return &syscall.Credential{Uid: uint32(h.uid), Gid: uint32(h.gid)} //nolint:gosec // ids come from the system
}
