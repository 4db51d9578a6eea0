package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// patch is one planted bug: a title and hunks of a unified diff.
type patch struct {
	name, title string
	hunks       []hunk
}

type hunk struct {
	file     string
	old, new string
}

func readPatch(path string) (patch, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return patch{}, err
	}
	p := patch{name: strings.TrimSuffix(filepath.Base(path), ".patch"), title: firstLine(string(data))}
	var file string
	var h *hunk
	for i, line := range strings.SplitAfter(string(data), "\n") {
		text := strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(text, "--- "):
			h = nil
		case strings.HasPrefix(text, "+++ b/"):
			file = strings.TrimPrefix(text, "+++ b/")
		case strings.HasPrefix(text, "@@"):
			if file == "" {
				return p, fmt.Errorf("%s: line %d: a hunk without a file", path, i+1)
			}
			p.hunks = append(p.hunks, hunk{file: file})
			h = &p.hunks[len(p.hunks)-1]
		case h == nil || text == "" && line == "":
		case text == "" || text[0] == ' ':
			h.old += strings.TrimPrefix(line, " ")
			h.new += strings.TrimPrefix(line, " ")
		case text[0] == '-':
			h.old += line[1:]
		case text[0] == '+':
			h.new += line[1:]
		default:
			return p, fmt.Errorf("%s: line %d: %q is not part of a unified diff", path, i+1, text)
		}
	}
	if len(p.hunks) == 0 {
		return p, fmt.Errorf("%s: no hunks", path)
	}
	return p, nil
}

// apply returns the patched files. Line numbers do not matter, but the text of
// each hunk must be there, once: a bug planted in the wrong place proves nothing.
func (p patch) apply(read func(path string) ([]byte, error)) (map[string][]byte, error) {
	out := map[string][]byte{}
	for _, h := range p.hunks {
		text, ok := out[h.file]
		if !ok {
			var err error
			if text, err = read(filepath.FromSlash(h.file)); err != nil {
				return nil, fmt.Errorf("%s: %w", p.name, err)
			}
		}
		if n := strings.Count(string(text), h.old); n != 1 || h.old == "" {
			return nil, fmt.Errorf("%s no longer applies: the text below is %d times in %s; write the bug anew against the source of today\n%s", p.name, n, h.file, h.old)
		}
		out[h.file] = []byte(strings.Replace(string(text), h.old, h.new, 1))
	}
	return out, nil
}
