package conch_test

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// shifted takes the place of clock_gettime in the vDSO, which is where a program of
// Go asks for the time: it asks the kernel, and adds so many seconds if it is the
// time of day that is asked for. Other clocks go on as they are.
var shifted = []byte{
	0xb8, 0xe4, 0x00, 0x00, 0x00, // mov  eax, SYS_clock_gettime
	0x0f, 0x05, // syscall
	0x85, 0xff, // test edi, edi          of CLOCK_REALTIME?
	0x75, 0x0d, // jne  ret
	0x48, 0xb9, 0, 0, 0, 0, 0, 0, 0, 0, // mov  rcx, seconds
	0x48, 0x01, 0x0e, // add  [rsi], rcx
	0xc3, // ret
}

const shiftedBy = 13 // where in shifted the seconds are

// canShift reports whether clock works here.
func canShift() bool {
	if runtime.GOARCH != "amd64" {
		return false
	}
	v, err := openVDSO(os.Getpid())
	if err != nil {
		return false
	}
	defer v.Close()
	var b [1]byte
	if _, err = v.mem.ReadAt(b[:], v.entry); err == nil {
		_, err = v.mem.WriteAt(b[:], v.entry) // of our own: what is there already
	}
	return err == nil
}

// clock sets a program's time of day, and nobody else's.
func (s *script) clock(args []string) error {
	if len(args) != 2 {
		return errors.New("usage: clock NAME|server D")
	}
	by, err := time.ParseDuration(args[1])
	if err != nil || by%time.Second != 0 {
		return errors.Join(err, fmt.Errorf("%s: whole seconds", args[1]))
	}
	if args[0] == "server" {
		if s.own == nil {
			return errors.New("the server is shared: start one first")
		}
		for _, m := range s.own {
			err = errors.Join(err, shift(m.Pid(), by))
		}
		return err
	}
	p, err := s.process(args[0])
	if err != nil {
		return err
	}
	return shift(p.cmd.Process.Pid, by)
}

// shift has a process take the time of day to be so much later than it is.
func shift(pid int, by time.Duration) error {
	v, err := openVDSO(pid)
	if err != nil {
		return err
	}
	defer v.Close()
	code := append([]byte(nil), shifted...)
	binary.LittleEndian.PutUint64(code[shiftedBy:], uint64(by/time.Second))
	return v.whileElsewhere(func() error {
		_, err := v.mem.WriteAt(code, v.entry)
		return err
	})
}

// vdso is the code that the kernel gives to a process, as it lies in that.
type vdso struct {
	pid      int
	mem      *os.File
	from, to int64
	entry    int64 // of clock_gettime
}

func openVDSO(pid int) (*vdso, error) {
	v := &vdso{pid: pid}
	maps, err := os.ReadFile(v.file("maps"))
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(maps)) {
		if strings.HasSuffix(line, "[vdso]\n") {
			if _, err := fmt.Sscanf(line, "%x-%x ", &v.from, &v.to); err != nil {
				return nil, err
			}
		}
	}
	if v.to == 0 {
		return nil, fmt.Errorf("process %d has no vDSO", pid)
	}
	if v.mem, err = os.OpenFile(v.file("mem"), os.O_RDWR, 0); err != nil {
		return nil, err
	}
	image, err := elf.NewFile(io.NewSectionReader(v.mem, v.from, v.to-v.from))
	if err == nil {
		v.entry, err = entryOf(image, "__vdso_clock_gettime")
		v.entry += v.from
	}
	if err != nil {
		v.Close()
		return nil, err
	}
	return v, nil
}

// entryOf finds a function that is long enough to be replaced.
func entryOf(image *elf.File, name string) (int64, error) {
	symbols, err := image.DynamicSymbols()
	if err != nil {
		return 0, err
	}
	for _, s := range symbols {
		if s.Name == name && s.Size >= uint64(len(shifted)) {
			return int64(s.Value), nil
		}
	}
	return 0, fmt.Errorf("the vDSO has no %s, or a short one", name)
}

func (v *vdso) Close() error { return v.mem.Close() }

func (v *vdso) file(name string) string { return fmt.Sprintf("/proc/%d/%s", v.pid, name) }

// whileElsewhere calls f while the process is stopped, and no thread of it is in the
// code.
func (v *vdso) whileElsewhere(f func() error) error {
	return poll(limit, func() error {
		if err := syscall.Kill(v.pid, syscall.SIGSTOP); err != nil {
			return err
		}
		defer syscall.Kill(v.pid, syscall.SIGCONT)
		if err := poll(time.Second, v.isElsewhere); err != nil {
			return err
		}
		return f()
	})
}

// isElsewhere returns nil when all threads stand still, each at an address that is not
// in the code: the last of the words that the kernel has for one that does.
func (v *vdso) isElsewhere() error {
	threads, err := filepath.Glob(v.file("task/*/syscall"))
	if err != nil || len(threads) == 0 {
		return fmt.Errorf("process %d has no threads (%v)", v.pid, err)
	}
	for _, file := range threads {
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		word := string(b[bytes.LastIndexByte(b, ' ')+1:])
		at, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimPrefix(word, "0x"), "\n"), 16, 64)
		if err != nil { // it is running
			return fmt.Errorf("%s: %s", file, b)
		}
		if at >= uint64(v.from) && at < uint64(v.to) {
			return fmt.Errorf("%s: in the vDSO", file)
		}
	}
	return nil
}
