// Package proc runs a command and everything it starts as one thing that can be
// stopped. What it cannot promise: a SIGKILL of the supervisor and of its
// sentinel in the same instant leaves the command's descendants alive (the
// command itself dies), unless the tree was started with Contain; so does a
// SIGKILL of either while the other is frozen, or is stopped again and again; a
// process in uninterruptible sleep dies when it wakes (see Tree.Unkilled); work handed to another daemon
// (docker run, systemd-run, at, ssh) is not in the tree; a descendant that has
// changed its user cannot be killed by an unprivileged sentinel outside of a
// cgroup of the tree's own, and is reported in Result. Without a usable /proc, SignalAll reaches the command
// alone.
//
// Between this process, the supervisor, and the command stands a sentinel (see
// package sentinel). It is a raw fork of the supervisor in a session of its
// own, and kills the whole tree when the supervisor dies, by whatever cause;
// when the deadline passes, whatever keeps the supervisor from acting; or by
// order. When the sentinel is the one to die, its children become the
// supervisor's, and the supervisor kills them the same way. The end of either
// continues the other, should somebody have stopped it.
//
// The command stays in the supervisor's process group, session and terminal,
// and is given what the supervisor was given: descriptors, ignored signals,
// mask, limits. Go's runtime loses some of that before main runs; a program
// linked with -ldflags='-E conch_entry' keeps it (see package entry).
//
// Where this process is in a cgroup (v2) that has been delegated to it, as by
// systemd's Delegate=yes, each tree without Contain gets a cgroup below it,
// conch-<pid>-<n>: the kernel then kills what is in it, whatever user it has
// become, and Empty is not said before it is empty. That is the one thing in
// which the command finds itself elsewhere than it would without us: the limits
// of the cgroup above hold as before, but the command may not enable
// controllers in its own. A cgroup is delegated if it carries the attribute
// user.delegate or trusted.delegate with the value 1; in any other, or when
// anything about it fails, the tree does without. A cgroup is removed at the
// end of its tree, unless the supervisor was killed before its sentinel was
// forked, or after the command had made cgroups in it.
//
// A process that starts trees should start no other children: when a sentinel
// dies, every child that is younger than it and is not a sentinel is taken for
// an orphan of its tree, and is killed. One that has the process to itself calls
// BuryStrays.
package proc
