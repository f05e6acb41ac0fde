package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"conch/pkg/cli"
	"conch/pkg/etcdtest"
	tools "conch/pkg/tool"
	"conch/pkg/tool/cronrunner"
)

// TestMain lets the test binary be conch-cronrunner, and the helpers that this
// starts.
func TestMain(m *testing.M) {
	if strings.HasPrefix(filepath.Base(os.Args[0]), "conch-") {
		cli.Main(cronrunner.Tool, tools.Internal()...)
	}
	os.Exit(etcdtest.M{M: m}.Run())
}

// Everything is measured, in a tiny form, so that it cannot rot: what comes of it
// says nothing about the bounds.
func TestTiny(t *testing.T) {
	bin := t.TempDir()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(exe, filepath.Join(bin, "conch-cronrunner")); err != nil {
		t.Fatal(err)
	}
	for _, f := range figures {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			o := &options{bin: bin, crowd: 40, burst: 80, loaded: 500, rate: 5, watchFor: 2 * time.Second, idleFor: time.Second, lead: 15 * time.Second, counts: []int{2}}
			rows, err := f.in(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			if err := rows.Print(&out); err != nil || len(rows) == 0 {
				t.Errorf("%d rows: %v", len(rows), err)
			}
			t.Log("\n" + out.String())
		})
	}
}
