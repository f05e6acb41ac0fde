package cli

import "context"

func shells() []string { return []string{"bash", "zsh", "fish"} }

func (t Tool) completion(io *Stdio, shell string) error { return nil }

type completion struct {
	tool  Tool
	io    *Stdio
	shell string
}

func (c completion) print(ctx context.Context, words []string) error { return nil }
