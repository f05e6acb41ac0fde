package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unsafe"
)

// process is one process that ran under a turn. Its times are nanoseconds of
// CLOCK_BOOTTIME.
type process struct {
	role     string
	pid      int // in its own pid namespace
	from, to int64
	ended    bool // by itself; else it was killed, or has not ended yet
}

// turn is what ran under one token.
type turn struct {
	token     int64
	run       string // the start of a contender, see runEnv
	processes []process
}

func (t turn) from() int64 {
	return slices.MinFunc(t.processes, func(a, b process) int { return int(a.from - b.from) }).from
}

func (t turn) to() int64 {
	return slices.MaxFunc(t.processes, func(a, b process) int { return int(a.to - b.to) }).to
}

// after returns t with only those of its processes that were alive then.
func (t turn) after(then int64) turn {
	t.processes = slices.DeleteFunc(slices.Clone(t.processes), func(p process) bool { return p.to < then })
	return t
}

// lately is how old a sign of life may be on a busy machine.
const lately = 200 * time.Millisecond

// alive reports whether a process of that role has just said so.
func (t turn) alive(role string) bool {
	return slices.ContainsFunc(t.processes, func(p process) bool {
		return p.role == role && p.to > boottime()-int64(lately)
	})
}

// readTurns reads what the processes under the turns of one office have written
// down, by the instant they began.
func readTurns(dir string) ([]turn, error) {
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	byToken := map[int64]*turn{}
	for _, f := range files {
		var token int64
		p := process{}
		fields := strings.Split(f.Name(), "_")
		if len(fields) != 4 {
			return nil, fmt.Errorf("unknown file %s", f.Name())
		}
		if _, err := fmt.Sscan(fields[0]+" "+fields[3], &token, &p.pid); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name(), err)
		}
		p.role = fields[2]
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			return nil, err
		}
		if len(b) < int(unsafe.Sizeof(life{})) {
			continue // killed before it had begun
		}
		p.from, p.to = int64(binary.NativeEndian.Uint64(b)), int64(binary.NativeEndian.Uint64(b[8:]))
		p.ended = binary.NativeEndian.Uint64(b[16:]) != 0
		if p.from == 0 || p.to == 0 {
			continue
		}
		if byToken[token] == nil {
			byToken[token] = &turn{token: token, run: fields[1]}
		}
		byToken[token].processes = append(byToken[token].processes, p)
	}
	var turns []turn
	for _, t := range byToken {
		turns = append(turns, *t)
	}
	slices.SortFunc(turns, func(a, b turn) int { return int(a.from() - b.from()) })
	return turns, nil
}
