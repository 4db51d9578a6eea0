// Package durable replaces files so that a power cut leaves the old content or
// the new one. It knows no format and takes no lock: a path has one writer.
package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// suffix names what is being written. A crash may leave such a file; the next
// Replace of the same path overwrites it.
const suffix = ".new"

// Replace puts what fill writes in the place of path and returns when content,
// permissions and name are on disk. On an error the old file is as it was.
//
// The order is that of every database: content, fsync, rename, fsync of the
// directory. Without the first fsync the name can point to an empty file after a
// power cut, without the second the rename itself can be lost.
func Replace(path string, mode fs.FileMode, fill func(*os.File) error) error {
	w, err := os.OpenFile(path+suffix, os.O_RDWR|os.O_CREATE|os.O_TRUNC, mode.Perm())
	if err != nil {
		return err
	}
	// A file that a crash has left keeps its own mode, and umask narrows a new one.
	if err = w.Chmod(mode.Perm()); err == nil {
		err = fill(w)
	}
	if err == nil {
		err = w.Sync()
	}
	err = errors.Join(err, w.Close())
	if err == nil {
		err = os.Rename(w.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(w.Name()))
	}
	return SyncDir(filepath.Dir(path))
}

// WriteFile replaces path by data.
func WriteFile(path string, data []byte, mode fs.FileMode) error {
	return Replace(path, mode, func(w *os.File) error {
		_, err := w.Write(data)
		return err
	})
}

// SyncDir makes renames, new names and removals in a directory durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
