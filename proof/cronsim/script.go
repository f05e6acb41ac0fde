package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"conch/pkg/cron"
)

// script is all that happens to a world from outside: which hosts and jobs there are,
// and what is done to them when. What the world draws itself (how long a message
// takes, how a command ends) depends on the seed and on what it is about, and not on
// what was drawn before: a line can be taken out, and the rest stays as it was.
type script struct {
	seed    uint64
	length  time.Duration // of what happens; an hour in which nothing does follows
	hosts   []hostSpec
	actions []action // by time
}

// hostSpec is what a host is to begin with.
type hostSpec struct {
	name  string
	slots int
	role  string // a label; empty: none
}

// action is one thing that is done at a time.
type action struct {
	at   time.Duration
	who  string // a host, "etcd", or "hand"
	verb string
	args string
}

func (a action) String() string {
	return strings.TrimRight(fmt.Sprintf("at %s %s %s %s", spell(a.at), a.who, a.verb, a.args), " ")
}

// spell writes a time since the beginning as hours, minutes and seconds.
func spell(d time.Duration) string {
	s := fmt.Sprintf("%02d:%02d:%02d", int(d.Hours()), int(d.Minutes())%60, int(d.Seconds())%60)
	if ms := d.Milliseconds() % 1000; ms != 0 {
		s += fmt.Sprintf(".%03d", ms)
	}
	return s
}

// parseSpelled reads what spell has written.
func parseSpelled(text string) (time.Duration, error) {
	var h, m int
	var s float64
	part := strings.Split(text, ":")
	if len(part) != 3 {
		return 0, fmt.Errorf("%q is not HH:MM:SS", text)
	}
	var err error
	if h, err = strconv.Atoi(part[0]); err == nil {
		if m, err = strconv.Atoi(part[1]); err == nil {
			s, err = strconv.ParseFloat(part[2], 64)
		}
	}
	d := time.Duration(h)*time.Hour + time.Duration(m)*time.Minute + time.Duration(s*1000+0.5)*time.Millisecond
	return d, err
}

// write writes the script as read reads it.
func (s *script) write(w io.Writer) {
	fmt.Fprintf(w, "seed %d\nlength %s\n", s.seed, spell(s.length))
	for _, h := range s.hosts {
		fmt.Fprintf(w, "host %s slots=%d", h.name, h.slots)
		if h.role != "" {
			fmt.Fprintf(w, " role=%s", h.role)
		}
		fmt.Fprintln(w)
	}
	for _, a := range s.actions {
		fmt.Fprintln(w, a)
	}
}

func (s *script) String() string {
	var b strings.Builder
	s.write(&b)
	return b.String()
}

// readScript reads a script; what follows a # is for people.
func readScript(r io.Reader) (*script, error) {
	s := &script{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		if err := s.line(lines.Text()); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	slices.SortStableFunc(s.actions, func(a, b action) int { return cmp.Compare(a.at, b.at) })
	return s, lines.Err()
}

func (s *script) line(text string) (err error) {
	word := strings.Fields(text)
	if len(word) == 0 || strings.HasPrefix(word[0], "#") {
		return nil
	}
	if len(word) < 2 {
		return fmt.Errorf("%q lacks something", text)
	}
	switch word[0] {
	case "seed":
		s.seed, err = strconv.ParseUint(word[1], 10, 64)
	case "length":
		s.length, err = parseSpelled(word[1])
	case "host":
		h := hostSpec{name: word[1], slots: 4}
		for _, setting := range word[2:] {
			key, value, _ := strings.Cut(setting, "=")
			switch key {
			case "slots":
				h.slots, err = strconv.Atoi(value)
			case "role":
				h.role = value
			default:
				return fmt.Errorf("%q is no setting of a host", setting)
			}
		}
		s.hosts = append(s.hosts, h)
	case "at":
		if len(word) < 4 {
			return fmt.Errorf("%q lacks something", text)
		}
		a := action{who: word[2], verb: word[3], args: strings.Join(word[4:], " ")}
		a.at, err = parseSpelled(word[1])
		s.actions = append(s.actions, a)
	default:
		return fmt.Errorf("%q is no line of a script", text)
	}
	return err
}

// jobArgs splits the name of a job from its specification, and reads that.
func jobArgs(args string) (name string, j *cron.Job, err error) {
	name, spec, _ := strings.Cut(args, " ")
	j = &cron.Job{}
	if err := json.Unmarshal([]byte(spec), j); err != nil {
		return name, nil, fmt.Errorf("job %s: %w", name, err)
	}
	j.Name = name
	return name, j, nil
}

// specText is a job as it stands in a script.
func specText(j *cron.Job) string {
	k := *j
	k.Name = ""
	k.Unstamp()
	b, err := json.Marshal(&k)
	if err != nil {
		panic(err)
	}
	return strings.Replace(string(b), `"name":"",`, "", 1)
}
