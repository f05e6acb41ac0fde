// Package cli is what a conch tool shows to the shell: argv, environment,
// streams, exit statuses, help, manual page and completion.
//
// It does not promise that a tool runs: a command that cannot be understood is
// refused before anything is touched, with status 64 and nothing on stdout. A
// query dies of a signal as any program does, without a word of Go's runtime; what
// guards a command handles signals itself. It reads os.Args, os.Environ
// and the three standard streams in Main and Dispatch only; everything below
// gets them in a Stdio. os.Exit is called here and nowhere else in the tree.
//
// A tool is a value of type Tool. Its Setup declares one table of flags, Rows,
// and from that one table come parsing, --help, -h, the page in mdoc, the
// completion of three shells and --debug-env, so that they cannot disagree.
//
// A setting is looked for in this order: the flag, CONCH_<FLAG_NAME>, the
// aliases of the row (etcdctl's ETCDCTL_*), the default. It is never an error
// to set two of them, and an empty variable is not set.
//
// The voice of an error: "tool: name: what: cause", one line, lower case, no
// full stop; then, where the user can do something about it, "hint: ...".
package cli
