package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// place is a line of a file; the zero place is a default or the machine.
type place struct {
	file string
	line int
}

// Problem is one mistake and what to do about it.
type Problem struct {
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"` // 0 when no line is to blame
	Message string `json:"message"`
	Remedy  string `json:"remedy"`
}

func (p Problem) String() string {
	text := p.Message
	if p.Remedy != "" {
		text += ": " + p.Remedy
	}
	switch {
	case p.File != "" && p.Line > 0:
		return fmt.Sprintf("%s:%d: %s", p.File, p.Line, text)
	case p.File != "":
		return p.File + ": " + text
	}
	return text
}

// Problems is the error of Load: every mistake found, in the order of the files.
type Problems []Problem

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, problem := range p {
		lines[i] = problem.String()
	}
	return strings.Join(lines, "\n")
}

func (p Problems) sorted() Problems {
	slices.SortStableFunc(p, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	return p
}

// fromDiagnostics puts HCL's messages into our form. HCL words its summary as a
// title and its detail as sentences; one line is made of both.
func fromDiagnostics(diagnostics hcl.Diagnostics) Problems {
	var out Problems
	for _, d := range diagnostics {
		if strings.Contains(d.Detail, "value must be known") {
			continue // follows from a variable or function, which is named already
		}
		p := Problem{Message: lowerFirst(d.Summary), Remedy: oneLine(d.Detail)}
		switch d.Summary {
		case "Unsupported argument":
			p.Message, p.Remedy = "unknown key: "+oneLine(d.Detail), "see config.hcl.example for the keys of this block"
		case "Unsupported block type":
			p.Message, p.Remedy = "unknown block: "+oneLine(d.Detail), "see config.hcl.example for the blocks"
		case "Unsuitable value type":
			p.Message = "the value has the wrong type"
			p.Remedy = strings.TrimPrefix(p.Remedy, "Unsuitable value: ")
		case "Variables not allowed", "Function calls not allowed":
			p.Remedy = "write the value itself: the file has no variables and no functions"
		}
		if d.Subject != nil {
			p.File, p.Line = d.Subject.Filename, d.Subject.Start.Line
		}
		out = append(out, p)
	}
	return out
}

func oneLine(s string) string {
	return strings.TrimSuffix(strings.Join(strings.Fields(s), " "), ".")
}

func lowerFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}
