package tool

import (
	"context"
	"slices"
	"strings"
	"testing"

	"conch/pkg/cli"
)

// outputs are the variables that a command finds. If one of them also set a
// flag, a conch under a conch would take it for its user's word.
var outputs = []string{
	"CONCH_KIND", "CONCH_NAME", "CONCH_REV", "CONCH_ETCD_KEY", "CONCH_CLUSTER", "CONCH_LEASE", "CONCH_SLOT", "CONCH_HOLDS",
	"CONCH_JOB", "CONCH_TICK", "CONCH_RUN", "CONCH_ATTEMPT", "TRACEPARENT",
}

func TestOutputsAreNoInputs(t *testing.T) {
	for _, tool := range All() {
		for _, row := range tool.Rows() {
			if slices.Contains(outputs, row.Env) {
				t.Errorf("%s --%s is set by %s", tool.Name, row.Name, row.Env)
			}
		}
	}
}

// Every flag says what it does, in the form that help is written in.
func TestFlagsAreExplained(t *testing.T) {
	for _, tool := range All() {
		for _, row := range tool.Rows() {
			if row.Hidden {
				continue
			}
			if row.Help == "" || row.Group == "" || row.Help[len(row.Help)-1] == '.' {
				t.Errorf("%s --%s: help %q in group %q", tool.Name, row.Name, row.Help, row.Group)
			}
		}
	}
}

// A secret is shown by no setting of any tool, wherever it stands in it, nor is it
// by the error that refuses it.
func TestSecretsAreMasked(t *testing.T) {
	const secret = "hunter2"
	values := []string{"https://me:" + secret + "@host:1", "http://a:1,http://me:" + secret + "/x@y@host:1", "ftp://" + secret + "@host"}
	for _, tool := range everyTool() {
		for _, row := range tool.Rows() {
			forms := values
			switch {
			case row.Secret:
				forms = append(slices.Clone(values), secret)
			case row.Name == "user":
				forms = append(slices.Clone(values), "me:"+secret, "me:"+secret+":more")
			case row.Name == "report":
				forms = append(slices.Clone(values), "https://host/_bulk?key="+secret)
			case row.Name == "env":
				forms = []string{"TOKEN=" + secret}
			}
			for _, name := range append([]string{row.Env}, row.Alias...) {
				if name == "" {
					continue
				}
				for _, value := range forms {
					checkMasked(t, tool, []string{name + "=" + value}, secret)
				}
			}
			if !row.EnvOnly && !row.Hidden && row.Group != "Help" {
				for _, value := range forms {
					checkMasked(t, tool, nil, secret, "--"+row.Name+"="+value)
				}
			}
		}
	}
}

func checkMasked(t *testing.T, tool cli.Tool, env []string, secret string, args ...string) {
	t.Helper()
	var out strings.Builder
	tool.Exec(context.Background(), &cli.Stdio{Out: &out, Err: &out, Env: env}, append([]string{"--debug-env"}, args...)...)
	if text := out.String(); strings.Contains(text, secret) || !strings.Contains(text, "***") {
		t.Errorf("%s: %q %q:\n%s", tool.Name, env, args, text)
	}
}

// everyTool lists the tools, and in the place of those that have some their
// commands.
func everyTool() (all []cli.Tool) {
	for _, tool := range All() {
		if all = append(all, tool.Commands...); len(tool.Commands) == 0 {
			all = append(all, tool)
		}
	}
	return all
}

// A command inherits what says where etcd is, but no password, and no other
// setting of the tool that runs it.
func TestCommandsInherit(t *testing.T) {
	for _, tool := range All() {
		if tool.Name != "conch-elect" && tool.Name != "conch-sema" {
			continue
		}
		for _, row := range tool.Rows() {
			stays := row.Group == "Connection" && !row.Secret || row.Name == "if-configured" || row.Name == "cmd-shown"
			if row.Inherit != stays {
				t.Errorf("%s --%s: inherited: %v", tool.Name, row.Name, row.Inherit)
			}
		}
	}
}
