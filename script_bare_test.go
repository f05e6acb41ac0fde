package conch_test

import (
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"conch/pkg/proctest"
)

// transparent are the scripts about what a command behind conch must not notice.
var transparent = []string{"streams", "descriptors", "status", "signals", "terminal"}

// TestScriptBare runs them with nothing in front of the command. What they
// expect of conch is then known to be what there is without it, and not what
// their author took for it.
func TestScriptBare(t *testing.T) {
	p := params(t, "/nonexistent")
	for _, name := range transparent {
		files, err := filepath.Glob("testdata/script/" + name + "*.txtar")
		if err != nil || len(files) == 0 {
			t.Fatalf("no script %s*.txtar (%v)", name, err)
		}
		p.Files = append(p.Files, files...)
	}
	setup := p.Setup
	p.Setup = func(env *testscript.Env) error {
		err := setup(env)
		env.Setenv("W", "")
		return err
	}
	usual := p.Condition
	p.Condition = func(c string) (bool, error) {
		if c == "bare" {
			return true, nil
		}
		return usual(c)
	}
	testscript.Run(t, p)
}

func condition(c string) (bool, error) {
	switch c {
	case "bare":
		return false, nil
	case "race":
		return raceEnabled, nil
	case "contain":
		return canContain(), nil
	case "root":
		return os.Geteuid() == 0, nil
	case "freezer":
		f, err := proctest.Freeze()
		if err != nil {
			return false, nil
		}
		return true, f.Close()
	case "clock":
		return canShift(), nil
	case "sshd":
		return canSSH(), nil
	case "static": // may beat run where there are no libraries?
		f, err := elf.Open("/proc/self/exe")
		if err != nil {
			return false, err
		}
		defer f.Close()
		libs, err := f.ImportedLibraries()
		return len(libs) == 0, err
	}
	return false, fmt.Errorf("no condition [%s]", c)
}
