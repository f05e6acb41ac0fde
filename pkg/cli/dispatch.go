package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"conch/pkg/proc/hear"
)

// Dispatch runs the multi-call binary as this process, and exits. The tool is
// chosen by the name that the process was started under, a symlink's say, or
// else by the first argument, in which "conch-" may be left out. Entries of
// internal are found by the process's name only; see Main.
func Dispatch(tools []Tool, internal ...Tool) {
	hear.Default()
	args := os.Args
	if len(args) == 0 {
		args = []string{"conch"}
	}
	stdio := stdio()
	t, rest := choose(tools, internal, args)
	leave(t, stdio, rest)
}

// choose returns the tool for argv, and the arguments after its name.
func choose(tools, internal []Tool, argv []string) (Tool, []string) {
	all := slices.Concat(tools, internal)
	if i := find(all, filepath.Base(argv[0])); i >= 0 {
		return all[i], argv[1:]
	}
	if len(argv) > 1 {
		if i := named(tools, argv[1]); i >= 0 {
			return tools[i], argv[2:]
		}
	}
	return Conch(tools), argv[1:]
}

// named finds a tool by what the user may call it.
func named(tools []Tool, word string) int {
	return slices.IndexFunc(tools, func(t Tool) bool {
		return word == t.Name || word == short(t) || slices.Contains(t.Aliases, word)
	})
}

func short(t Tool) string { return strings.TrimPrefix(t.Name, "conch-") }

// Conch is the multi-call binary itself as a tool, for when no other is named:
// it lists the others and makes the links that select them.
func Conch(tools []Tool) Tool {
	conch := Tool{
		Name:  "conch",
		Brief: "locks, elections, semaphores and cron for a cluster, over etcd",
		Usage: []string{"TOOL [ARG]...", "install-links DIR"},
		Examples: []Example{
			{"Make conch-elect and the others appear in a directory", "conch install-links /usr/local/bin"},
		},
		Statuses: Statuses(0, Failed, Usage),
		multi:    true,
		whole:    tools,
	}
	for _, t := range tools {
		t.Name = short(t)
		for _, alias := range t.Aliases {
			t.Brief += " (or " + alias + ")"
		}
		conch.Commands = append(conch.Commands, t)
	}
	conch.Commands = append(conch.Commands, installLinks(tools))
	return conch
}

func installLinks(tools []Tool) Tool {
	return Tool{
		Name:  "install-links",
		Brief: "make a symlink to conch for each tool in a directory",
		Usage: []string{"DIR"},
		Setup: func(*Flags) Run {
			return func(_ context.Context, _ *Stdio, args Args) error {
				if len(args.Words) != 1 || len(args.Command) > 0 {
					return Usagef("one directory is needed")
				}
				self, err := os.Executable()
				if err != nil {
					return err
				}
				return linkAll(tools, self, args.Words[0])
			}
		},
	}
}

// linkAll makes the links that are missing, and says which it could not make.
func linkAll(tools []Tool, self, dir string) error {
	if _, err := os.Stat(dir); err != nil { // once, and not for each tool
		return Errorf(Failed, "%w", err)
	}
	var failed []string
	for _, t := range tools {
		if err := link(self, filepath.Join(dir, t.Name)); err != nil {
			failed = append(failed, err.Error())
		}
	}
	if len(failed) > 0 {
		return Errorf(Failed, "%s", strings.Join(failed, "; "))
	}
	return nil
}

// link makes path a symlink to self. One that stands is left alone if it leads
// there and replaced in one step if it leads elsewhere; what is not a symlink
// is never touched.
func link(self, path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return os.Symlink(self, path)
	case err != nil:
		return err
	case info.Mode()&fs.ModeSymlink == 0:
		return fmt.Errorf("%s exists and is not a symlink", path)
	}
	if target, err := os.Readlink(path); err == nil && target == self {
		return nil
	}
	fresh := path + ".conch-new"
	if err := os.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(self, fresh); err != nil {
		return err
	}
	return os.Rename(fresh, path)
}
