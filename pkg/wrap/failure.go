package wrap

import (
	"strconv"

	"conch/pkg/cli"
)

// failed tells who listens to --status-fd or --status-file of an end before there
// was a session that could: a line that cannot be understood, or a command that
// cannot be run.
func (o *Options) failed(f cli.Failure) {
	switch f.Status {
	case cli.Usage, cli.Config, cli.NotExecutable, cli.NotFound:
	default:
		return // of a question, or said by the session
	}
	if o.told {
		return
	}
	file := f.Setting("status-file")
	fd, err := strconv.Atoi(f.Setting("status-fd"))
	if err == nil {
		file = "" // it may be for both that the line is refused
	} else {
		fd = -1
	}
	status, err := openStatus(file, fd)
	if status == nil || err != nil {
		return
	}
	status.Put(Event{Event: "exit", Time: now(), Tool: f.Tool, Exit: exit(f.Status), Reason: f.Reason, By: "conch"}.json())
	status.Wait(patience)
}
