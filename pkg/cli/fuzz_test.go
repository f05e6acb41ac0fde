package cli_test

import (
	"slices"
	"strings"
	"testing"
)

// FuzzLine makes a command line from what it must mean, and looks whether it
// is read so. The oracle is the construction: the flags come from a list whose
// effect is known, NAME and COMMAND are arbitrary bytes.
func FuzzLine(f *testing.F) {
	f.Add("jobs", "ls\x00-x\x00--", uint16(0x1234), false)
	f.Add("-", "-n", uint16(0xffff), true)
	f.Add("", "", uint16(7), true)
	f.Fuzz(func(t *testing.T, name, packed string, pick uint16, dash bool) {
		if strings.HasPrefix(name, "-") && name != "-" {
			return // a flag, and not what is made here
		}
		command := strings.Split(packed, "\x00")
		if strings.HasPrefix(command[0], "-") && command[0] != "-" {
			dash = true // only "--" can let such a command be meant
		}
		before, after, nonblock, wait, ttl := pickFlags(pick)
		args := slices.Concat(before, []string{name}, after)
		if dash {
			args = append(args, "--")
		}
		args = append(args, command...)
		got, status, _, stderr := run(nil, args...)
		switch {
		case status != 0:
			t.Errorf("%q: %s", args, stderr)
		case got.args.Name != name || !slices.Equal(got.args.Command, command):
			t.Errorf("%q: NAME %q, COMMAND %q", args, got.args.Name, got.args.Command)
		case got.nonblock != nonblock || got.wait.String() != wait || got.ttl.String() != ttl:
			t.Errorf("%q: %+v", args, got.options)
		}
	})
}

// pickFlags chooses spellings of three flags and puts each before or after
// NAME, by the bits of pick.
func pickFlags(pick uint16) (before, after []string, nonblock bool, wait, ttl string) {
	wait, ttl = "0s", "10s"
	put := func(choices [][]string) int {
		n := int(pick & 7)
		side := &before
		if pick&8 != 0 {
			side = &after
		}
		pick >>= 4
		if n >= len(choices) {
			return -1
		}
		*side = append(*side, choices[n]...)
		return n
	}
	nonblock = put([][]string{{"-n"}, {"--nonblock"}, {"-n=yes"}, {"--nonblock=1"}}) >= 0
	if put([][]string{{"-w3s"}, {"-w", "3s"}, {"-w=3s"}, {"--wait", "3s"}, {"--wait=3s"}}) >= 0 {
		wait = "3s"
	}
	if put([][]string{{"--ttl", "7s"}, {"--ttl=7s"}}) >= 0 {
		ttl = "7s"
	}
	return before, after, nonblock, wait, ttl
}

// FuzzArgs lets any arguments in: whatever comes is taken or refused with 64,
// and an error stays within its lines.
func FuzzArgs(f *testing.F) {
	for _, seed := range []string{"jobs\x00ls", "-\x00--\x00-", "--=\x00-=", "-w=\x00-n=", "--\x1b\n", "-\xff", "--__complete\x00bash\x00="} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, packed string) {
		args := strings.Split(packed, "\x00")
		_, status, _, stderr := run(nil, args...)
		if status != 0 && status != 64 {
			t.Errorf("%q: status %d", args, status)
		}
		if status == 0 && stderr != "" || strings.Count(stderr, "\n") > 3 || strings.ContainsAny(stderr, "\x1b\r\x00") {
			t.Errorf("%q: %q", args, stderr)
		}
	})
}
