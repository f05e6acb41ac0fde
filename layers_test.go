package conch_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// layers says which packages of the tree each package may import, lowest floor
// first: a package stands only on what is above it here. Tests may import what
// they like.
var layers = []layer{
	// Pure, or of this machine alone: these know nothing of etcd.
	{"pkg/clock", ""},
	{"pkg/nearest", ""},
	{"pkg/keys", ""},
	{"pkg/fence", "pkg/keys"},
	{"pkg/schedule", "pkg/clock"},
	{"pkg/proc/entry", ""},
	{"pkg/proc/sentinel", ""},
	{"pkg/proc/hear", "pkg/proc/entry"},
	{"pkg/proc", "pkg/clock pkg/proc/entry pkg/proc/hear pkg/proc/sentinel"},
	{"pkg/stream", ""},
	{"pkg/cli", "pkg/clock pkg/nearest pkg/proc/entry pkg/proc/hear pkg/stream"},

	// guard sees a hold through an interface of its own, so that its one rule,
	// dead before the deadline, can be tested with neither etcd nor patience.
	{"pkg/guard", "pkg/clock pkg/proc pkg/proc/hear"},

	{"pkg/etcd", "pkg/clock"},
	{"pkg/lease", "pkg/clock pkg/etcd"},
	{"pkg/hold", "pkg/clock pkg/etcd pkg/fence pkg/keys pkg/lease"},
	{"pkg/cron", "pkg/clock pkg/etcd pkg/fence pkg/keys pkg/lease pkg/nearest pkg/schedule"},
	{"pkg/plan", "pkg/clock pkg/cron pkg/keys pkg/schedule"},
	{"pkg/runner", "pkg/clock pkg/cron pkg/etcd pkg/fence pkg/guard pkg/keys pkg/lease pkg/plan pkg/proc pkg/proc/hear pkg/schedule pkg/stream"},
	{"pkg/jobfile", "pkg/cron pkg/keys pkg/schedule"},
	{"pkg/status", "pkg/cron pkg/etcd pkg/fence pkg/hold pkg/keys pkg/schedule"},

	// What tools share of their command lines.
	{"pkg/connect", "pkg/cli pkg/etcd pkg/keys"},
	{"pkg/wrap", "pkg/cli pkg/clock pkg/connect pkg/etcd pkg/fence pkg/guard pkg/hold pkg/keys pkg/lease pkg/proc pkg/proc/hear pkg/stream"},

	// No tool imports another; pkg/tool lists them all.
	{"pkg/tool/elect", everythingBelowTools},
	{"pkg/tool/sema", everythingBelowTools},
	{"pkg/tool/cron", everythingBelowTools},
	{"pkg/tool/cronrunner", everythingBelowTools},
	{"pkg/tool/status", everythingBelowTools},
	{"pkg/tool", "pkg/cli pkg/wrap pkg/tool/elect pkg/tool/sema pkg/tool/cron pkg/tool/cronrunner pkg/tool/status"},
	{"cmd/conch", "pkg/cli pkg/tool"},
	{"cmd/conch-elect", "pkg/cli pkg/tool pkg/tool/elect"},
	{"cmd/conch-sema", "pkg/cli pkg/tool pkg/tool/sema"},
	{"cmd/conch-cron", "pkg/cli pkg/tool pkg/tool/cron"},
	{"cmd/conch-cronrunner", "pkg/cli pkg/tool pkg/tool/cronrunner"},
	{"cmd/conch-status", "pkg/cli pkg/tool pkg/tool/status"},

	// For tests: nothing above may import these.
	{"pkg/etcdtest", ""},
	{"pkg/proctest", ""},
	{"pkg/metricstest", ""},
	{"proof/report", ""},
	{"proof/bench", "proof/report pkg/cli pkg/etcd pkg/etcdtest pkg/hold pkg/keys pkg/lease"},
	{"proof/bench/bare", ""},
	{"proof/bench/stamp", ""},
	{"proof/benchcron", "proof/report pkg/cli pkg/cron pkg/etcd pkg/etcdtest pkg/keys"},
	{"proof/model", ""}, // the protocol, not the code
	{"proof/model/death", ""},
	{"proof/promises", "pkg/cli pkg/etcd pkg/etcdtest pkg/hold"},
	{"proof/cronsim", "pkg/cli pkg/clock pkg/cron pkg/etcd pkg/keys pkg/plan pkg/schedule"},
}

const everythingBelowTools = "pkg/cli pkg/clock pkg/connect pkg/cron pkg/etcd pkg/fence pkg/guard pkg/hold " +
	"pkg/jobfile pkg/keys pkg/lease pkg/proc pkg/proc/hear pkg/runner pkg/schedule pkg/status pkg/stream pkg/wrap"

type layer struct{ pkg, mayImport string }

// onlyIn names what may be imported in one place alone.
var onlyIn = map[string]string{
	"github.com/robfig/cron/v3": "pkg/schedule", // its parser needs guarding
	"go.yaml.in/yaml/v3":        "pkg/jobfile",
	"github.com/spf13/pflag":    "pkg/cli", // one parser of argv
	"flag":                      "pkg/cli",
	"text/template":             "", // either makes the linker keep every method: 2.9 MB
	"html/template":             "",
	"github.com/spf13/cobra":    "",
}

func TestLayers(t *testing.T) {
	allowed := map[string]string{}
	for i, l := range layers {
		allowed[l.pkg] = l.mayImport
		for dep := range strings.FieldsSeq(l.mayImport) {
			if !slices.ContainsFunc(layers[:i], func(below layer) bool { return below.pkg == dep }) {
				t.Errorf("the table lets %s import %s, which does not stand above it", l.pkg, dep)
			}
		}
	}
	for _, f := range sources(t) {
		mine, known := allowed[f.pkg]
		if !known {
			t.Errorf("%s: the table of layers_test.go lacks %s", f.path, f.pkg)
			continue
		}
		for _, spec := range f.ast.Imports {
			path, _ := strconv.Unquote(spec.Path.Value)
			dep, ours := strings.CutPrefix(path, "conch/")
			if ours && !slices.Contains(strings.Fields(mine), dep) {
				t.Errorf("%s imports %s, which layers_test.go does not let it", f.path, dep)
			}
			if where, restricted := onlyIn[path]; restricted && !slices.Contains(strings.Fields(where), f.pkg) {
				t.Errorf("%s imports %s, which is for [%s] only", f.path, path, where)
			}
		}
	}
}

// Whatever ends the process early skips what others have deferred: killing the
// tree, giving the turn back.
func TestOnlyCliExits(t *testing.T) {
	enders := map[string][]string{
		"os":      {"Exit"},
		"syscall": {"Exit"},
		"log":     {"Fatal", "Fatalf", "Fatalln", "Panic", "Panicf", "Panicln"},
	}
	for _, f := range sources(t) {
		if f.pkg == "pkg/cli" {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if id, ok := sel.X.(*ast.Ident); ok && slices.Contains(enders[id.Name], sel.Sel.Name) {
				t.Errorf("%s calls %s.%s: return an error, and let pkg/cli exit", f.path, id.Name, sel.Sel.Name)
			}
			return true
		})
	}
}

// Each package says what it is for, once.
func TestEachPackageHasOneDoc(t *testing.T) {
	docs := map[string]int{}
	for _, f := range sources(t) {
		docs[f.pkg] += 0
		if f.ast.Doc != nil {
			docs[f.pkg]++
		}
	}
	for pkg, n := range docs {
		if n != 1 {
			t.Errorf("%s has %d package comments, not one", pkg, n)
		}
	}
}

type source struct {
	pkg, path string
	ast       *ast.File
}

// sources parses every Go file that goes into a binary, for whatever system.
func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	for _, top := range []string{"cmd", "pkg", "proof"} {
		err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && d.Name() == "testdata":
				return filepath.SkipDir
			case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
				return nil
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
			all = append(all, source{filepath.Dir(path), path, file})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(all) < 10 {
		t.Fatalf("only %d source files found", len(all))
	}
	return all
}
