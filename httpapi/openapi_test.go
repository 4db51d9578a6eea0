package httpapi

import (
	"bytes"
	"encoding/json"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the schemas of openapi.json from the types of package api")

type openAPIDocument struct {
	OpenAPI string                                `json:"openapi"`
	Paths   map[string]map[string]json.RawMessage `json:"paths"`
	Parts   struct {
		Schemas map[string]any `json:"schemas"`
	} `json:"components"`
}

func readOpenAPI(t *testing.T) openAPIDocument {
	t.Helper()
	var document openAPIDocument
	if err := json.Unmarshal(openAPI, &document); err != nil {
		t.Fatalf("openapi.json: %v", err)
	}
	return document
}

// Every route is described, and nothing is described that is no route.
func TestOpenAPIDescribesEveryRoute(t *testing.T) {
	server, err := New(Config{Backend: newDemo(3)})
	if err != nil {
		t.Fatal(err)
	}
	served := map[string]bool{}
	for _, r := range server.routes() {
		served[r.method+" "+strings.ReplaceAll(r.pattern, "...}", "}")] = true
	}
	described := map[string]bool{}
	for path, methods := range readOpenAPI(t).Paths {
		for method := range methods {
			described[strings.ToUpper(method)+" "+path] = true
		}
	}
	if !maps.Equal(served, described) {
		t.Errorf("routes %v\nopenapi.json %v", slices.Sorted(maps.Keys(served)), slices.Sorted(maps.Keys(described)))
	}
}

// The schemas are the types of package api, field by field, with their comments.
func TestOpenAPISchemasMatchTheTypes(t *testing.T) {
	want := schemasOfTypes(t)
	if *update {
		writeSchemas(t, want)
		return
	}
	var got, normal map[string]any
	roundTrip(t, readOpenAPI(t).Parts.Schemas, &got)
	roundTrip(t, want, &normal)
	for name := range normal {
		if !reflect.DeepEqual(got[name], normal[name]) {
			t.Errorf("schema %s differs from api.%s: run go test ./httpapi -run OpenAPI -update", name, name)
		}
	}
	if len(got) != len(normal) {
		t.Errorf("openapi.json has %d schemas, package api %d types: run with -update", len(got), len(normal))
	}
}

// A reference to nothing would break every generator of clients.
func TestOpenAPIReferencesResolve(t *testing.T) {
	if *update {
		t.Skip("openapi.json was just rewritten")
	}
	var document map[string]any
	if err := json.Unmarshal(openAPI, &document); err != nil {
		t.Fatal(err)
	}
	references := regexp.MustCompile(`"\$ref":\s*"#/([^"]+)"`).FindAllSubmatch(openAPI, -1)
	if len(references) < 50 {
		t.Fatalf("only %d references found", len(references))
	}
	for _, reference := range references {
		at := any(document)
		for part := range strings.SplitSeq(string(reference[1]), "/") {
			object, _ := at.(map[string]any)
			at = object[part]
		}
		if at == nil {
			t.Errorf("reference #/%s leads nowhere", reference[1])
		}
	}
}

func roundTrip(t *testing.T, from any, to any) {
	t.Helper()
	content, err := json.Marshal(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(content, to); err != nil {
		t.Fatal(err)
	}
}

func writeSchemas(t *testing.T, schemas map[string]any) {
	t.Helper()
	content, err := json.MarshalIndent(schemas, "  ", " ")
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(openAPI, []byte(`"schemas": {`))
	if at < 0 {
		t.Fatal(`openapi.json has no "schemas"`)
	}
	out := append(slices.Clone(openAPI[:at]), `"schemas": `...)
	out = append(append(out, content...), "\n }\n}\n"...)
	if err := os.WriteFile("openapi.json", out, 0o644); err != nil {
		t.Fatal(err)
	}
}

// schemasOfTypes reads the struct types of package api that travel as JSON.
func schemasOfTypes(t *testing.T) map[string]any {
	t.Helper()
	out := map[string]any{}
	names, err := os.ReadDir("../api")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range names {
		if !strings.HasSuffix(entry.Name(), ".go") || strings.HasSuffix(entry.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), "../api/"+entry.Name(), nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if declared, ok := n.(*ast.GenDecl); ok && declared.Tok == token.TYPE {
				for _, spec := range declared.Specs {
					addSchema(out, spec.(*ast.TypeSpec), declared.Doc)
				}
			}
			return true
		})
	}
	return out
}

func addSchema(out map[string]any, spec *ast.TypeSpec, doc *ast.CommentGroup) {
	body, ok := spec.Type.(*ast.StructType)
	if !ok || !spec.Name.IsExported() {
		return
	}
	properties, required := map[string]any{}, []string{}
	for _, field := range body.Fields.List {
		if field.Tag == nil {
			continue
		}
		tag := reflect.StructTag(strings.Trim(field.Tag.Value, "`")).Get("json")
		name, option, _ := strings.Cut(tag, ",")
		if name == "-" {
			continue
		}
		property := schemaOf(field.Type)
		if text := commentOf(field.Doc, field.Comment); text != "" {
			property["description"] = text
		}
		properties[name] = property
		if option == "" {
			required = append(required, name)
		}
	}
	if len(properties) == 0 {
		return // not a wire type
	}
	schema := map[string]any{"type": "object", "properties": properties, "description": commentOf(doc)}
	// A request names only what it wants to say; answers are always whole.
	if !strings.HasSuffix(spec.Name.Name, "Request") && spec.Name.Name != "Policy" && !strings.HasPrefix(spec.Name.Name, "Fleet") {
		schema["required"] = required
	}
	out[spec.Name.Name] = schema
}

func commentOf(groups ...*ast.CommentGroup) string {
	var parts []string
	for _, g := range groups {
		if text := strings.Join(strings.Fields(g.Text()), " "); text != "" {
			parts = append(parts, text)
		}
	}
	return strings.Join(parts, " ")
}

func schemaOf(expression ast.Expr) map[string]any {
	switch e := expression.(type) {
	case *ast.StarExpr:
		return map[string]any{"oneOf": []any{schemaOf(e.X), map[string]any{"type": "null"}}}
	case *ast.ArrayType:
		if element, ok := e.Elt.(*ast.Ident); ok && element.Name == "byte" {
			return map[string]any{"type": "string", "contentEncoding": "base64"}
		}
		return map[string]any{"type": "array", "items": schemaOf(e.Elt)}
	case *ast.MapType:
		return map[string]any{"type": "object", "additionalProperties": schemaOf(e.Value)}
	case *ast.SelectorExpr:
		if e.Sel.Name == "Time" {
			return map[string]any{"type": "string", "format": "date-time"}
		}
		return map[string]any{} // json.RawMessage: any JSON
	case *ast.Ident:
		switch e.Name {
		case "string":
			return map[string]any{"type": "string"}
		case "bool":
			return map[string]any{"type": "boolean"}
		case "float64":
			return map[string]any{"type": "number"}
		case "int", "int64", "uint64":
			return map[string]any{"type": "integer"}
		}
		return map[string]any{"$ref": "#/components/schemas/" + e.Name}
	}
	return map[string]any{}
}
