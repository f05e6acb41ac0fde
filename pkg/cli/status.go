package cli

import "strconv"

// The exit statuses that are conch's own, from sysexits(3), timeout(1) and the
// shell. This is the one list.
const (
	// Failed is an error that has no status of its own.
	Failed = 1
	// Usage is a command line that cannot be understood.
	Usage = 64
	// Unreachable is no answer from etcd within --dial-timeout.
	Unreachable = 69
	// Lost is a hold that was lost while the command ran; it was killed. It is a
	// command, too, for which the system had no process left, or the like.
	Lost = 70
	// Busy is no turn with --nonblock, or within --wait.
	Busy = 75
	// Refused is etcd refusing: authentication or permission.
	Refused = 77
	// Config is an unreadable file, or settings that cannot work together.
	Config = 78
	// Timeout is a command stopped by --max-run.
	Timeout = 124
	// NotExecutable is a command that cannot be executed.
	NotExecutable = 126
	// NotFound is a command that does not exist.
	NotFound = 127
)

// Status is a line of the EXIT STATUS section.
type Status struct {
	Code    string
	Meaning string
}

// Statuses returns the lines of the given codes, for a tool that runs no
// command. 0 is success.
func Statuses(codes ...int) []Status {
	var list []Status
	for _, code := range codes {
		list = append(list, Status{strconv.Itoa(code), meaning(code)})
	}
	return list
}

// CommandStatuses returns the lines of a tool that runs a command.
func CommandStatuses() []Status {
	list := []Status{
		{"0 to 255", "the command's own, unchanged"},
		{"128+n", "the command died of signal n, and so did conch; as PID 1 conch exits with this number"},
	}
	return append(list, Statuses(Usage, Unreachable, Lost, Busy, Refused, Config, Timeout, NotExecutable, NotFound)...)
}

func meaning(code int) string {
	switch code {
	case 0:
		return "success"
	case Failed:
		return "failure"
	case Usage:
		return "the command line cannot be understood"
	case Unreachable:
		return "etcd did not answer within --dial-timeout"
	case Lost:
		return "the hold was lost while the command ran, which was killed; or the system had too few processes, or the like, to run it"
	case Busy:
		return "no turn, with --nonblock or within --wait"
	case Refused:
		return "refused by etcd: authentication or permission"
	case Config:
		return "a certificate, key or file that cannot be read, settings that cannot work together, or a limit that is too low"
	case Timeout:
		return "the command was stopped by --max-run"
	case NotExecutable:
		return "the command cannot be executed"
	case NotFound:
		return "the command does not exist"
	}
	return "failure"
}
