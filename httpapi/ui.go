package httpapi

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

// ui serves the embedded page: small files, no build step, nothing from
// elsewhere.
type ui struct {
	files map[string]uiFile
}

type uiFile struct {
	content []byte
	kind    string
	tag     string
}

// uiKinds are the files the page consists of; anything else in the folder is a
// mistake that New reports.
var uiKinds = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

func newUI(files fs.FS) (*ui, error) {
	u := &ui{files: map[string]uiFile{}}
	err := fs.WalkDir(files, "ui", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		kind, ok := uiKinds[path.Ext(name)]
		if !ok {
			return fmt.Errorf("embedded page: %s has no known content type", name)
		}
		content, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(content)
		u.files["/"+name] = uiFile{content, kind, `"` + hex.EncodeToString(sum[:8]) + `"`}
		return nil
	})
	return u, err
}

func (u *ui) serve(w http.ResponseWriter, r *http.Request) error {
	name := r.URL.Path
	if strings.HasSuffix(name, "/") {
		name += "index.html"
	}
	file, ok := u.files[name]
	if !ok {
		return WithHint(fmt.Errorf("page %.150q: %w", r.URL.Path, ErrNotFound), "the UI is at /ui/")
	}
	h := w.Header()
	h.Set("Content-Type", file.kind)
	// Asked again each time, so that page and scripts are of one version.
	h.Set("Cache-Control", "no-cache")
	h.Set("ETag", file.tag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(file.content))
	return nil
}
