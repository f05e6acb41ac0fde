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
		Setup: func(*Flags) Run {
			return func(_ context.Context, io *Stdio, args Args) error {
				about := t
				for _, word := range append(args.Words, args.Command...) {
					c, err := about.named(word)
					if err != nil {
						return err
					}
					about = c
				}
				return print(io.Out, about.help())
			}
		},
	}
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
