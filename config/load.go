package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/gohcl"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// maxFile bounds a file: a configuration is a page, and a wrong path may name a
// disk image.
const maxFile = 1 << 20

// Load reads files and directories in the order given; of a directory, every
// *.hcl in lexical order. A later file overrides single keys of an earlier one;
// driver blocks are merged by name. All files are read before an error is
// returned, which is of type Problems and names every mistake. What only the
// machine can tell (ports, certificates, directories) is Validate's business.
func Load(paths ...string) (Config, error) {
	config := Default()
	files, problems := list(paths)
	for _, file := range files {
		source, problem := read(file)
		if problem != nil {
			problems = append(problems, *problem)
			continue
		}
		problems = append(problems, config.merge(file, source)...)
	}
	if len(problems) == 0 {
		problems = config.check()
	}
	if len(problems) > 0 {
		return Config{}, problems.sorted()
	}
	return config, nil
}

// Parse reads one file from memory; name is for messages.
func Parse(name string, source []byte) (Config, error) {
	config := Default()
	problems := config.merge(name, source)
	if len(problems) == 0 {
		problems = config.check()
	}
	if len(problems) > 0 {
		return Config{}, problems.sorted()
	}
	return config, nil
}

// list expands directories.
func list(paths []string) (files []string, problems Problems) {
	if len(paths) == 0 {
		return nil, Problems{{Message: "no configuration is named", Remedy: "give a file or a directory with --config"}}
	}
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			problems = append(problems, unreadable(path, err))
			continue
		}
		if !info.IsDir() {
			files = append(files, path)
			continue
		}
		entries, err := os.ReadDir(path) // sorted by name
		if err != nil {
			problems = append(problems, unreadable(path, err))
			continue
		}
		found := false
		for _, entry := range entries {
			if !entry.IsDir() && strings.HasSuffix(entry.Name(), ".hcl") && !strings.HasPrefix(entry.Name(), ".") {
				files, found = append(files, filepath.Join(path, entry.Name())), true
			}
		}
		if !found {
			problems = append(problems, Problem{File: path, Message: "the directory holds no *.hcl file", Remedy: "copy config.hcl.example there and adapt it"})
		}
	}
	return files, problems
}

func read(file string) ([]byte, *Problem) {
	f, err := os.Open(file)
	if err != nil {
		p := unreadable(file, err)
		return nil, &p
	}
	defer f.Close() // read only: nothing can be lost
	source, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		p := unreadable(file, err)
		return nil, &p
	}
	if len(source) > maxFile {
		return nil, &Problem{File: file, Message: "the file is larger than 1 MiB", Remedy: "name a configuration file"}
	}
	return source, nil
}

func unreadable(path string, err error) Problem {
	remedy := "check the path"
	switch {
	case errors.Is(err, os.ErrNotExist):
		return Problem{File: path, Message: "it does not exist", Remedy: "check the path, or copy config.hcl.example there"}
	case errors.Is(err, os.ErrPermission):
		remedy = "make it readable for the user that runs placed"
	}
	var pathError *os.PathError
	if errors.As(err, &pathError) {
		err = pathError.Err
	}
	return Problem{File: path, Message: fmt.Sprintf("it cannot be read (%v)", err), Remedy: remedy}
}

// merge decodes one file over what is there. gohcl leaves keys alone that the
// file does not mention, which makes the overriding.
func (c *Config) merge(name string, source []byte) Problems {
	file, diagnostics := hclsyntax.ParseConfig(source, name, hcl.InitialPos)
	if diagnostics.HasErrors() {
		return fromDiagnostics(diagnostics)
	}
	body := file.Body.(*hclsyntax.Body)
	if problems := doubled(body); len(problems) > 0 {
		return problems
	}
	drivers, workloads := c.Drivers, c.Workloads
	c.Drivers, c.Workloads = nil, nil
	diagnostics = gohcl.DecodeBody(file.Body, nil, c)
	found := c.Drivers
	c.Drivers = mergeDrivers(drivers, found, body)
	c.Workloads = mergeWorkloads(workloads, c.Workloads)
	if diagnostics.HasErrors() {
		return fromDiagnostics(diagnostics)
	}
	c.locate(name, body)
	return nil
}

// doubled finds blocks that stand twice in one file: the second would override
// the first in silence.
func doubled(body *hclsyntax.Body) Problems {
	var problems Problems
	first := map[string]int{}
	for _, block := range body.Blocks {
		key := blockKey(block)
		line := block.TypeRange.Start.Line
		if before, seen := first[key]; seen {
			problems = append(problems, Problem{File: block.TypeRange.Filename, Line: line,
				Message: fmt.Sprintf("block %s stands here again (first on line %d)", key, before), Remedy: "merge the two"})
			continue
		}
		first[key] = line
	}
	return problems
}

func blockKey(block *hclsyntax.Block) string {
	return strings.Join(append([]string{block.Type}, block.Labels...), ".")
}

// mergeDrivers overrides drivers of the same name key by key and keeps the order
// of first mention.
func mergeDrivers(have, found []*Driver, body *hclsyntax.Body) []*Driver {
	for _, d := range found {
		i := slices.IndexFunc(have, func(h *Driver) bool { return h.Name == d.Name })
		if i < 0 {
			have = append(have, d)
			continue
		}
		for _, block := range body.Blocks {
			if block.Type != "driver" || len(block.Labels) != 1 || block.Labels[0] != d.Name {
				continue
			}
			if block.Body.Attributes["command"] != nil {
				have[i].Command = d.Command
			}
			if block.Body.Attributes["dir"] != nil {
				have[i].Dir = d.Dir
			}
			if block.Body.Attributes["options"] != nil {
				have[i].Options = d.Options
			}
		}
	}
	return have
}

// mergeWorkloads lets a later block replace an earlier one of the same id whole.
func mergeWorkloads(have, found []*Workload) []*Workload {
	for _, w := range found {
		if i := slices.IndexFunc(have, func(h *Workload) bool { return h.ID == w.ID }); i >= 0 {
			have[i] = w
			continue
		}
		have = append(have, w)
	}
	return have
}

// locate remembers where each key stands.
func (c *Config) locate(name string, body *hclsyntax.Body) {
	for _, block := range body.Blocks {
		key := blockKey(block)
		c.where[key] = place{name, block.TypeRange.Start.Line}
		for attribute, value := range block.Body.Attributes {
			c.where[key+"."+attribute] = place{name, value.NameRange.Start.Line}
		}
	}
}
