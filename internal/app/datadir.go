package app

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/rota-dev/rota/job"
)

// dataVersion is the form of the data folder that this program writes and reads.
const dataVersion = 1

// dataDir is a data folder that belongs to this process alone until it is closed.
type dataDir struct {
	path string
	lock *os.File
}

// openDataDir makes the folder where it is not there, and takes possession of it. A folder of another version or
// in use by another process is left untouched.
func openDataDir(path string) (*dataDir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, job.Errorf(job.CodeInvalid, "the data folder %s can't be made: %w", path, err).
			WithHint("name another with --data, or make it writable")
	}
	d := &dataDir{path: path}
	if _, err := d.readVersion(); err != nil {
		return nil, err // before anything is written
	}
	lock, err := os.OpenFile(filepath.Join(path, "lock"), os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, job.Errorf(job.CodeInvalid, "the data folder %s can't be used: %w", path, err).
			WithHint("name another with --data, or make it writable")
	}
	d.lock = lock
	if err := d.take(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	if err := d.mark(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return d, nil
}

func (d *dataDir) take() error {
	err := syscall.Flock(int(d.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		holder := make([]byte, 32)
		n, _ := d.lock.ReadAt(holder, 0)
		by := "another process"
		if pid := strings.TrimSpace(string(holder[:n])); pid != "" { // it has locked it, and is about to say who it is
			by = "process " + pid
		}
		return job.Errorf(job.CodeConflict, "the data folder %s is in use by %s", d.path, by).
			WithHint("stop that one, or name another folder with --data")
	}
	if err != nil {
		return job.Errorf(job.CodeInvalid, "the data folder %s can't be locked: %w", d.path, err)
	}
	if err := d.lock.Truncate(0); err != nil {
		return err
	}
	_, err = d.lock.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// readVersion refuses a folder that another version of Rota wrote, or another program. It is 0 for a new one.
func (d *dataDir) readVersion() (int, error) {
	name := d.join("version")
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, job.Errorf(job.CodeInvalid, "the data folder %s can't be used: %w", d.path, err).
			WithHint("name another with --data, or make it readable and writable")
	}
	text := strings.TrimSpace(string(b))
	v, err := strconv.Atoi(strings.TrimPrefix(text, "rota data "))
	switch {
	case err != nil:
		return 0, job.Errorf(job.CodeInvalid, "%s holds %.40q, which is no version of Rota's data", name, text).
			WithHint("is %s a folder of something else? name another with --data", d.path)
	case v != dataVersion:
		return 0, job.Errorf(job.CodeInvalid, "the data folder %s has version %d, this program reads version %d; it was left untouched", d.path, v, dataVersion).
			WithHint("use the version of Rota that wrote it, or name another folder with --data")
	}
	return v, nil
}

// mark writes the version into a folder that is new.
func (d *dataDir) mark() error {
	v, err := d.readVersion()
	if err != nil || v != 0 {
		return err
	}
	return d.writeFile("version", fmt.Appendf(nil, "rota data %d\n", dataVersion))
}

// writeFile writes a file of the folder whole or not at all, and durably; only this user can read it.
func (d *dataDir) writeFile(name string, data []byte) (err error) {
	f, err := os.CreateTemp(d.path, name+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if _, err = f.Write(data); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), d.join(name))
}

func (d *dataDir) join(parts ...string) string {
	return filepath.Join(append([]string{d.path}, parts...)...)
}

// Close gives the folder free.
func (d *dataDir) Close() error {
	// A process that is being forked holds a copy of the descriptor until it executes its program, and a lock that is not released with it.
	return errors.Join(syscall.Flock(int(d.lock.Fd()), syscall.LOCK_UN), d.lock.Close())
}

// defaultData is where data is kept when nothing else is said: ROTA_DATA, else ~/.local/share/rota.
func defaultData() string {
	if dir := os.Getenv("ROTA_DATA"); dir != "" {
		return dir
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "rota-data"
	}
	return filepath.Join(home, ".local", "share", "rota")
}
