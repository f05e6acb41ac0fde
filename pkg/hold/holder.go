package hold

import (
	"encoding/json"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// States of a candidate. A value without one was written by other software and
// counts as held.
const (
	Waiting   = "waiting"   // in line
	Held      = "held"      // at the head, its command may run
	Lingering = "lingering" // its command has ended; --hold-for keeps the place
)

// maxCmd is how much of the command is kept in the record, in bytes.
const maxCmd = 256

// Holder is who a candidate is: the value of its key, one line of JSON. Host,
// PID, Started and Cmd are as the reference implementation writes them.
type Holder struct {
	Host    string    `json:"host"`
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`          // UTC, of the candidate's process
	Cmd     string    `json:"cmd,omitempty"`    // at most 256 bytes
	User    string    `json:"user,omitempty"`   // who runs it
	State   string    `json:"state,omitempty"`  // Waiting, Held or Lingering
	Since   time.Time `json:"since,omitzero"`   // UTC, of the hold
	Slot    *int      `json:"slot,omitempty"`   // of a semaphore, while it holds one
	Weight  int       `json:"weight,omitempty"` // how much of a semaphore it takes; 0: 1
	Value   string    `json:"value,omitempty"`  // what it publishes while it holds; see CheckValue
	Ask     string    `json:"ask,omitempty"`    // who asks for its place; others put this, see Ask

	// Unkilled is how many processes of its command have been killed and do not end,
	// for they sleep in the kernel: until they have, it keeps the hold.
	Unkilled int `json:"unkilled,omitempty"`
}

// Self returns the Holder for this process and the command it is to run.
func Self(argv []string) Holder {
	h := Holder{Host: "unknown", PID: os.Getpid(), Started: time.Now().UTC().Truncate(time.Second), Cmd: cut(strings.Join(argv, " "), maxCmd)}
	if name, err := os.Hostname(); err == nil {
		h.Host = name
	}
	if u, err := user.Current(); err == nil {
		h.User = u.Username
	}
	return h
}

// Who names h where it acts on others: user@host (pid N).
func (h Holder) Who() string {
	if h.User == "" {
		h.User = strconv.Itoa(os.Getuid())
	}
	return fmt.Sprintf("%s@%s (pid %d)", h.User, h.Host, h.PID)
}

// cut shortens s to n bytes at most, never inside a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

func (h Holder) in(state string) Holder {
	h.State = state
	if state == Lingering { // nobody is there any more
		h.Value = ""
	}
	return h
}

// Published is what the candidate has to say to whoever asks who holds: nothing
// before it does.
func (h Holder) Published() string {
	if h.State == Waiting {
		return ""
	}
	return h.Value
}

// maxValue is the longest value that a holder may publish, in bytes.
const maxValue = 1024

// CheckValue says why text cannot be published, or nil: it is a line of at most 1
// KiB of printable UTF-8.
func CheckValue(text string) error {
	switch {
	case len(text) > maxValue:
		return fmt.Errorf("the value is %d bytes long; the limit is %d", len(text), maxValue)
	case !utf8.ValidString(text):
		return fmt.Errorf("the value %+.40q is not UTF-8", text)
	}
	for _, r := range text {
		if !unicode.IsPrint(r) {
			return fmt.Errorf("the value contains %+q; use printable characters", r)
		}
	}
	return nil
}

// held is h as of now, at the head of the line.
func (h Holder) held() Holder {
	h.Since = time.Now().UTC().Truncate(time.Second)
	return h.in(Held)
}

// line is h as it lies in etcd.
func (h Holder) line() string {
	b, err := json.Marshal(h)
	if err != nil {
		panic("hold: " + err.Error()) // strings, a number and a time always encode
	}
	return string(b)
}

// parse reads a candidate's value. What is not ours is tolerated: its host is
// unknown-host.
func parse(value []byte) Holder {
	var h Holder
	if err := json.Unmarshal(value, &h); err != nil || h.Host == "" {
		return Holder{Host: "unknown-host"}
	}
	return h
}

// running is the record of a command that may be alive, or start. It has no lease, so it
// outlives a holder that died without releasing: the next one knows by it that
// the hand-over is not a clean one.
type running struct {
	Owner string `json:"owner"` // the lease, as in the candidate's key
	Host  string `json:"host"`
	PID   int    `json:"pid"`
	TTL   int64  `json:"ttl"` // seconds; no deadline of the holder counts on more

	Weight int  `json:"weight,omitempty"` // of a semaphore's capacity; 0: 1
	Stays  bool `json:"stays,omitempty"`  // the key may outlive the record; see After.Linger
}

func (r running) line() string {
	b, err := json.Marshal(r)
	if err != nil {
		panic("hold: " + err.Error())
	}
	return string(b)
}

// parseRunning reads a record. One that is not ours weighs 1.
func parseRunning(record []byte) running {
	var r running
	if err := json.Unmarshal(record, &r); err != nil {
		return running{}
	}
	return r
}

// weight is what a candidate or a record takes of a semaphore.
func weight(w int) int { return max(1, w) }

// ttlOf returns the TTL of the holder that wrote the record, or unknown where it
// cannot be read.
func ttlOf(record []byte, unknown time.Duration) time.Duration {
	var r running
	if err := json.Unmarshal(record, &r); err != nil || r.TTL <= 0 {
		return unknown
	}
	return time.Duration(r.TTL) * time.Second
}
