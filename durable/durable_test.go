package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func content(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func names(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestReplacesWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	for _, want := range []string{"a longer first content", "short", ""} {
		if err := WriteFile(path, []byte(want), 0o640); err != nil {
			t.Fatal(err)
		}
		if got := content(t, path); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := names(t, filepath.Dir(path)); len(got) != 1 {
		t.Errorf("beside the file: %v", got)
	}
}

// What a crash left behind gives neither its content nor its permissions.
func TestOverwritesWhatACrashLeft(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path+suffix, []byte("half of something long"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(path, []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if content(t, path) != "new" || info.Mode().Perm() != 0o600 {
		t.Errorf("%q with %s", content(t, path), info.Mode())
	}
}

func TestFailureLeavesTheOldFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	if err := WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	full := errors.New("no space left on device")
	err := Replace(path, 0o600, func(w *os.File) error {
		_, err := w.WriteString("ne")
		return errors.Join(err, full)
	})
	if !errors.Is(err, full) {
		t.Errorf("error: %v", err)
	}
	if got := content(t, path); got != "old" {
		t.Errorf("%q", got)
	}
	if got := names(t, filepath.Dir(path)); len(got) != 1 {
		t.Errorf("beside the file: %v", got)
	}
}

func TestNoDirectory(t *testing.T) {
	err := WriteFile(filepath.Join(t.TempDir(), "absent", "state"), nil, 0o600)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error: %v", err)
	}
}
