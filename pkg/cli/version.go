package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is the line of --version, from what the linker knows.
func (t Tool) version() string {
	version, commit := "unknown", "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		version = info.Main.Version
		modified := false
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				commit = s.Value[:min(12, len(s.Value))]
			case "vcs.modified":
				modified = s.Value == "true"
			}
		}
		if modified {
			commit += "+changes"
		}
	}
	return fmt.Sprintf("%s %s (%s, %s, %s/%s)\n", t.voice(), version, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
