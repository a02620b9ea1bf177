// Writes modules/kube/schema_types.h: what the Go types of Kubernetes say of each built-in kind, as
// names and types only. Run in this folder: go run . > ../schema_types.h
package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"sort"
	"strings"
)

// The packages whose types are read: module, folder, short name. Kinds come from those with a group.
var packages = [][3]string{
	{"k8s.io/api", "core/v1", "core.v1"},
	{"k8s.io/api", "apps/v1", "apps.v1"},
	{"k8s.io/api", "batch/v1", "batch.v1"},
	{"k8s.io/api", "rbac/v1", "rbac.v1"},
	{"k8s.io/api", "storage/v1", "storage.v1"},
	{"k8s.io/api", "coordination/v1", "coordination.v1"},
	{"k8s.io/api", "events/v1", "events.v1"},
	{"k8s.io/api", "admission/v1", "admission.v1"},
	{"k8s.io/api", "admissionregistration/v1", "admissionregistration.v1"},
	{"k8s.io/api", "authentication/v1", "authentication.v1"},
	{"k8s.io/api", "authorization/v1", "authorization.v1"},
	{"k8s.io/api", "autoscaling/v1", "autoscaling.v1"},
	{"k8s.io/api", "autoscaling/v2", "autoscaling.v2"},
	{"k8s.io/api", "certificates/v1", "certificates.v1"},
	{"k8s.io/api", "discovery/v1", "discovery.v1"},
	{"k8s.io/api", "flowcontrol/v1", "flowcontrol.v1"},
	{"k8s.io/api", "networking/v1", "networking.v1"},
	{"k8s.io/api", "node/v1", "node.v1"},
	{"k8s.io/api", "policy/v1", "policy.v1"},
	{"k8s.io/api", "resource/v1", "resource.v1"},
	{"k8s.io/api", "scheduling/v1", "scheduling.v1"},
	{"k8s.io/api", "scheduling/v1alpha3", "scheduling.v1alpha3"}, // types of batch/v1 are in it
	{"k8s.io/apiextensions-apiserver", "pkg/apis/apiextensions/v1", "apiextensions.v1"},
	{"k8s.io/apimachinery", "pkg/apis/meta/v1", "meta.v1"},
}

// Types that are written as one letter: they have a form of their own in JSON.
var special = map[string]string{
	"meta.v1.Time": "t", "meta.v1.MicroTime": "u", "meta.v1.Duration": "d", "meta.v1.FieldsV1": "a",
	"resource.Quantity": "q", "intstr.IntOrString": "x", "runtime.RawExtension": "a", "runtime.Object": "a",
	"json.RawMessage": "a", "types.UID": "s", "types.NodeName": "s", "apiextensions.v1.JSON": "a",
	"apiextensions.v1.JSONSchemaPropsOrBool": "a", "apiextensions.v1.JSONSchemaPropsOrArray": "a",
	"apiextensions.v1.JSONSchemaPropsOrStringArray": "a", "authenticationv1.ExtraValue": "[s",
	"string": "s", "bool": "b", "int": "i", "int32": "i", "int64": "l", "uint16": "i", "uint32": "l",
	"float64": "f", "types.PatchType": "s",
}

type definition struct {
	name    string // core.v1.Pod
	spec    *ast.TypeSpec
	doc     string
	imports map[string]string // local name of an import -> short name
	short   string
}

var (
	definitions = map[string]*definition{}
	groups      = map[string]string{} // short name -> group/version
	set         = token.NewFileSet()
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func folder(module string) string {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	check(err)
	return strings.TrimSpace(string(out))
}

func imports(file *ast.File) map[string]string {
	names := map[string]string{}
	for _, spec := range file.Imports {
		path := strings.Trim(spec.Path.Value, `"`)
		local := filepath.Base(path)
		if spec.Name != nil {
			local = spec.Name.Name
		}
		names[local] = filepath.Base(path)
		for _, p := range packages {
			if path == p[0]+"/"+p[1] {
				names[local] = p[2]
			}
		}
	}
	return names
}

// The text of the constant GroupName.
func groupName(declaration ast.Decl) *string {
	general, ok := declaration.(*ast.GenDecl)
	if !ok || general.Tok != token.CONST {
		return nil
	}
	for _, spec := range general.Specs {
		value := spec.(*ast.ValueSpec)
		if len(value.Values) == 0 {
			continue
		}
		if literal, ok := value.Values[0].(*ast.BasicLit); ok && value.Names[0].Name == "GroupName" {
			text := strings.Trim(literal.Value, `"`)
			return &text
		}
	}
	return nil
}

func read(module, directory, short string) {
	parsed, err := parser.ParseDir(set, filepath.Join(folder(module), directory), func(f os.FileInfo) bool {
		return !strings.HasSuffix(f.Name(), "_test.go")
	}, parser.ParseComments)
	check(err)
	for _, pkg := range parsed {
		for _, file := range pkg.Files {
			readFile(file, short, filepath.Base(directory))
		}
	}
}

func readFile(file *ast.File, short, version string) {
	for _, declaration := range file.Decls {
		if found := groupName(declaration); found != nil && short != "meta.v1" {
			groups[short] = strings.TrimPrefix(*found+"/"+version, "/")
		}
	}
	names := imports(file)
	for _, declaration := range file.Decls {
		general, ok := declaration.(*ast.GenDecl)
		if !ok || general.Tok != token.TYPE {
			continue
		}
		for _, spec := range general.Specs {
			ts := spec.(*ast.TypeSpec)
			doc := comments(file, ts, general)
			name := short + "." + ts.Name.Name
			definitions[name] = &definition{name, ts, doc, names, short}
		}
	}
}

// The comments that belong to a type: also those that stand apart above it (markers do).
func comments(file *ast.File, ts *ast.TypeSpec, general *ast.GenDecl) string {
	text := ""
	before := token.NoPos
	for _, declaration := range file.Decls {
		if declaration.End() < general.Pos() && declaration.End() > before {
			before = declaration.End()
		}
	}
	for _, group := range file.Comments {
		if group.Pos() > before && group.End() <= ts.Pos() {
			for _, line := range group.List {
				text += line.Text + "\n"
			}
		}
	}
	return text
}

func marker(text, name string) string {
	found := regexp.MustCompile(`(?m)^//\s*\+` + name + `(?:=(.*))?$`).FindStringSubmatch(text)
	if found == nil {
		return ""
	}
	if found[1] == "" {
		return "yes"
	}
	return strings.TrimSpace(found[1])
}

// The name of the type that an expression means, and its definition if we have it.
func resolve(d *definition, e ast.Expr) (string, *definition) {
	switch e := e.(type) {
	case *ast.Ident:
		if e.Obj == nil && (e.Name == "string" || special[e.Name] != "") {
			return e.Name, nil
		}
		name := d.short + "." + e.Name
		return name, definitions[name]
	case *ast.SelectorExpr:
		name := d.imports[e.X.(*ast.Ident).Name] + "." + e.Sel.Name
		return name, definitions[name]
	}
	return "", nil
}

// The type in our letters; what is used of structs is noted.
func code(d *definition, e ast.Expr, used map[string]bool) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return code(d, e.X, used)
	case *ast.ArrayType:
		if name, _ := resolve(d, e.Elt); name == "byte" || strings.HasSuffix(name, ".byte") {
			return "y"
		}
		return "[" + code(d, e.Elt, used)
	case *ast.MapType:
		return "{" + code(d, e.Value, used)
	case *ast.InterfaceType:
		return "a"
	}
	name, found := resolve(d, e)
	if special[name] != "" {
		return special[name]
	}
	if found == nil {
		check(fmt.Errorf("%s: unknown type %s", d.name, name))
	}
	if _, isStruct := found.spec.Type.(*ast.StructType); !isStruct {
		return code(found, found.spec.Type, used)
	}
	used[name] = true
	return "@" + name
}

// How a list or a map is owned and merged: /m=keys /s /A, and /p=strategy:key for strategic patches.
func notes(d *definition, field *ast.Field, tag reflect.StructTag) string {
	doc := ""
	if field.Doc != nil {
		for _, line := range field.Doc.List {
			doc += line.Text + "\n"
		}
	}
	text := ""
	keys := []string{}
	for _, found := range regexp.MustCompile(`(?m)^//\s*\+listMapKey=(\S+)`).FindAllStringSubmatch(doc, -1) {
		keys = append(keys, found[1])
	}
	strategy, key := tag.Get("patchStrategy"), tag.Get("patchMergeKey")
	switch kind := marker(doc, "listType"); {
	case kind == "map":
		text += "/m=" + strings.Join(keys, ",")
	case kind == "set":
		text += "/s"
	case kind == "" && strings.HasPrefix(strategy, "merge") && key != "":
		text += "/m=" + key
	case kind == "" && strings.HasPrefix(strategy, "merge"):
		text += "/s"
	}
	if marker(doc, "mapType") == "atomic" || marker(doc, "structType") == "atomic" {
		text += "/A"
	}
	if strategy != "" {
		text += "/p=" + strategy
		if key != "" {
			text += ":" + key
		}
	}
	if value := marker(doc, "default"); value != "" && !strings.HasPrefix(value, "ref(") {
		text += "/d=" + value
	}
	return text
}

func isOptional(field *ast.Field, options []string) bool {
	if field.Doc != nil {
		for _, line := range field.Doc.List {
			if marker(line.Text, "optional") != "" {
				return true
			}
			if marker(line.Text, "required") != "" {
				return false
			}
		}
	}
	for _, option := range options {
		if option == "omitempty" || option == "omitzero" {
			return true
		}
	}
	return false
}

// Whether Go writes a field of a value that has nothing in it.
func isWritten(field *ast.Field, options []string, code string) bool {
	if _, isPointer := field.Type.(*ast.StarExpr); isPointer {
		return false
	}
	written := true
	for _, option := range options {
		switch option {
		case "omitzero":
			return false
		case "omitempty": // which Go heeds for all but structs
			written = strings.ContainsAny(code[:1], "@tuqxd")
		}
	}
	return written
}

// Whether Go leaves out a plain value that is zero: behind a pointer it is kept.
func isLeftOut(field *ast.Field, code string) bool {
	_, isPointer := field.Type.(*ast.StarExpr)
	return !isPointer && len(code) == 1 && strings.Contains("sbilf", code)
}

func fields(d *definition, used map[string]bool) []string {
	list := []string{}
	for _, field := range d.spec.Type.(*ast.StructType).Fields.List {
		tag := reflect.StructTag("")
		if field.Tag != nil {
			tag = reflect.StructTag(strings.Trim(field.Tag.Value, "`"))
		}
		parts := strings.Split(tag.Get("json"), ",")
		if len(field.Names) == 0 && parts[0] == "" {
			inner := field.Type
			if star, ok := inner.(*ast.StarExpr); ok {
				inner = star.X
			}
			if _, found := resolve(d, inner); found != nil {
				list = append(list, fields(found, used)...)
			}
			continue
		}
		if parts[0] == "-" || parts[0] == "" {
			continue
		}
		required := "!"
		if isOptional(field, parts[1:]) {
			required = ""
		}
		letters, written := code(d, field.Type, used), ""
		if isWritten(field, parts[1:], letters) {
			written = "/z"
		} else if isLeftOut(field, letters) {
			written = "/o"
		}
		list = append(list, parts[0]+required+":"+letters+written+notes(d, field, tag))
	}
	return list
}

func isKind(d *definition) bool {
	structure, ok := d.spec.Type.(*ast.StructType)
	if !ok || groups[d.short] == "" || strings.Contains(d.short, "alpha") {
		return false
	}
	for _, field := range structure.Fields.List {
		if selector, ok := field.Type.(*ast.SelectorExpr); ok && selector.Sel.Name == "TypeMeta" && len(field.Names) == 0 {
			return true
		}
	}
	return false
}

func quote(text string) string {
	return `"` + strings.ReplaceAll(strings.ReplaceAll(text, `\`, `\\`), `"`, `\"`) + `"`
}

func main() {
	for _, p := range packages {
		read(p[0], p[1], p[2])
	}
	kinds, queue := []string{}, []string{}
	for name, d := range definitions {
		if !isKind(d) {
			continue
		}
		scope := "n"
		if marker(d.doc, "genclient:nonNamespaced") != "" {
			scope = "c"
		}
		kinds = append(kinds, groups[d.short]+"/"+d.spec.Name.Name+" "+name+" "+scope)
		queue = append(queue, name)
	}
	for _, name := range []string{"DeleteOptions", "CreateOptions", "UpdateOptions", "PatchOptions", "ListOptions",
		"Status", "APIGroup", "APIGroupList", "APIResourceList", "APIVersions", "Table", "PartialObjectMetadata",
		"PartialObjectMetadataList", "WatchEvent"} {
		queue = append(queue, "meta.v1."+name)
	}
	lines := map[string]string{}
	for len(queue) > 0 {
		name := queue[0]
		queue = queue[1:]
		if lines[name] != "" {
			continue
		}
		used := map[string]bool{}
		d := definitions[name]
		flag := "-"
		if marker(d.doc, "structType") == "atomic" || marker(d.doc, "mapType") == "atomic" {
			flag = "A"
		}
		lines[name] = name + " " + flag + " " + strings.Join(fields(d, used), " ")
		for next := range used {
			queue = append(queue, next)
		}
	}
	types := []string{}
	for _, line := range lines {
		types = append(types, line)
	}
	sort.Strings(kinds)
	sort.Strings(types)
	fmt.Println("// Made by modules/kube/schema (go run . > ../schema_types.h); not for editing. Its form is in schema.h.")
	fmt.Println("static const char *const kinds[] = {")
	for _, line := range kinds {
		fmt.Println("    " + quote(line) + ",")
	}
	fmt.Println("};\nstatic const char *const types[] = {")
	for _, line := range types {
		fmt.Println("    " + quote(line) + ",")
	}
	fmt.Println("};")
}
