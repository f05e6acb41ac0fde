package cli

import (
	"context"
	"syscall"
)

// Tool is one command: everything that Main, Dispatch, the documentation and
// the tests need to know of it. It is a value and holds no state: Setup makes
// fresh flags each time, so a Tool can run twice in one process.
type Tool struct {
	// Name is what the command is called: "conch-elect". The name of an entry
	// of Commands is its word alone: "add".
	Name string
	// Aliases are further first arguments that the multi-call binary takes for
	// this tool.
	Aliases []string
	// Brief says in one line what it is for: "run a command on one host".
	Brief string
	// Usage is one synopsis a line, without the name. The first is the one
	// that a usage error shows.
	Usage []string
	// Examples open --help.
	Examples []Example
	// Sections are further sections of the manual page. See Section for the
	// markup; a section with a conventional title (DESCRIPTION, FILES, BUGS)
	// is put where mdoc wants it.
	Sections []Section
	// Statuses is the EXIT STATUS section. See Statuses and CommandStatuses.
	Statuses []Status
	// SeeAlso names other pages: "conch-sema(1)".
	SeeAlso []string
	// Commands are the subcommands, if the tool has them. Setup of the tool
	// then only says which flags may stand before the subcommand's word; the
	// subcommand's own Setup declares those that it takes again, and is the
	// one that runs.
	Commands []Tool
	// Shape says what stands beside the flags.
	Shape Shape
	// Setup declares the flags and returns what runs once they are set.
	Setup func(f *Flags) Run
	// Raise makes the process die of a signal; nil, or a Raise that returns,
	// means that Main exits with 128 plus the number.
	Raise func(syscall.Signal)

	parent string // full name of the tool that this is a subcommand of
	multi  bool   // Commands are whole tools, which have pages of their own
	whole  []Tool // multi: those tools, under their own names
}

// Run is what a tool does. What it returns decides the exit status: see Exit,
// Ended and Signaled.
type Run func(ctx context.Context, io *Stdio, args Args) error

// Shape says what a tool takes beside flags.
type Shape int

const (
	// Plain is any number of words, flags between them. What follows "--" is
	// Args.Command.
	Plain Shape = 0
	// NameCommand is [FLAGS] NAME [FLAGS] [--] COMMAND [ARG]...: flags end at
	// COMMAND or "--", whichever comes first, and what follows is not looked
	// at. A larger Shape is that many words before the COMMAND.
	NameCommand Shape = 1
)

// Args is what stood on the command line beside flags.
type Args struct {
	// Name is the first word, if HasName. It is left out in "-- ls -l".
	Name    string
	HasName bool
	// Words are all words before Command, Name among them.
	Words []string
	// Command is what to run, byte for byte as it was given.
	Command []string
}

// Example is a command worth copying.
type Example struct {
	Text    string // what it does, one line, without a full stop
	Command string // as typed; may have several lines
}

// Section is a section of the manual page. Blank lines part paragraphs. A
// paragraph whose lines begin with "- " is a list, one that is indented by
// four spaces is shown as it is, one whose lines begin with "= TERM: " is a
// list of terms (lines that follow indented belong to the entry above them).
// `Backquotes` set off what is typed literally.
type Section struct {
	Title string // in capitals, as in "FILES"
	Body  string
}

// full is the name as the user types it: "conch-cron add".
func (t Tool) full() string {
	if t.parent != "" {
		return t.parent + " " + t.Name
	}
	return t.Name
}

// voice is the name that errors begin with, the program's own.
func (t Tool) voice() string {
	if t.parent != "" {
		return t.parent
	}
	return t.Name
}

// flags makes the table afresh.
func (t Tool) flags() (*Flags, Run) {
	f := &Flags{}
	var run Run
	if t.Setup != nil {
		run = t.Setup(f)
	}
	f.addActions()
	return f, run
}

// Rows lists every flag of the tool, then those that its subcommands add.
func (t Tool) Rows() []Row {
	f, _ := t.flags()
	seen := make(map[string]bool)
	var rows []Row
	for _, r := range f.rows {
		seen[r.Name] = true
		rows = append(rows, *r)
	}
	for _, c := range t.Commands {
		for _, r := range c.Rows() {
			if !seen[r.Name] {
				seen[r.Name] = true
				rows = append(rows, r)
			}
		}
	}
	return rows
}
