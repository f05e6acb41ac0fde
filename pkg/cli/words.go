package cli

import "context"

// commands are the subcommands, and the two words that every tool with subcommands
// takes in the place of one.
func (t Tool) commands() []Tool {
	if len(t.Commands) == 0 {
		return nil
	}
	all := append([]Tool(nil), t.Commands...)
	for _, word := range []Tool{t.helpWord(), t.versionWord()} {
		if find(all, word.Name) < 0 {
			all = append(all, word)
		}
	}
	return all
}

// helpWord is "help", which says of a command what --help after it would.
func (t Tool) helpWord() Tool {
	return Tool{
		Name:  "help",
		Brief: "explain all of it, or one command",
		Usage: []string{"[COMMAND]..."},
		Setup: func(f *Flags) Run {
			f.Complete(func(_ context.Context, _ *Stdio, words []string, _ string) (names []string) {
				about, _ := t.about(words) // nothing to propose where that fails
				for _, c := range about.commands() {
					names = append(names, c.Name)
				}
				return names
			})
			return func(_ context.Context, io *Stdio, args Args) error {
				about, err := t.about(append(args.Words, args.Command...))
				if err != nil {
					return err
				}
				return print(io.Out, about.help())
			}
		},
	}
}

// about is the tool that words lead to.
func (t Tool) about(words []string) (Tool, error) {
	for _, word := range words {
		c, err := t.named(word)
		if err != nil {
			return Tool{}, err
		}
		t = c
	}
	return t, nil
}

// named is the tool that the user means by a word after this one's name.
func (t Tool) named(word string) (Tool, error) {
	if i := named(t.whole, word); i >= 0 {
		return t.whole[i], nil
	}
	return t.command(word)
}

// versionWord is "version".
func (t Tool) versionWord() Tool {
	return Tool{
		Name:  "version",
		Brief: "print the version",
		Usage: []string{""},
		Setup: func(*Flags) Run {
			return func(_ context.Context, io *Stdio, args Args) error {
				if len(args.Words)+len(args.Command) > 0 {
					return Usagef("version takes no words")
				}
				return print(io.Out, t.version())
			}
		},
	}
}
