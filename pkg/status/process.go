package status

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"
)

// process writes what every Prometheus client tells of its process, the part of
// it that dashboards use. What cannot be found out is left out.
func process(m *Metrics) {
	var use syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &use) == nil {
		seconds := func(t syscall.Timeval) float64 { return float64(t.Nano()) / 1e9 }
		m.Family("process_cpu_seconds_total", "counter", "CPU time of this process.")
		m.Sample(seconds(use.Utime) + seconds(use.Stime))
	}
	var pages, resident float64
	if b, err := os.ReadFile("/proc/self/statm"); err == nil {
		if n, _ := fmt.Sscan(string(b), &pages, &resident); n == 2 {
			m.Family("process_resident_memory_bytes", "gauge", "Memory that this process has in RAM.")
			m.Sample(resident * float64(os.Getpagesize()))
		}
	}
	if open, err := os.ReadDir("/proc/self/fd"); err == nil {
		m.Family("process_open_fds", "gauge", "Open descriptors.")
		m.Sample(float64(len(open)))
	}
	var most syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &most) == nil {
		m.Family("process_max_fds", "gauge", "How many descriptors may be open.")
		m.Sample(float64(most.Cur))
	}
	if t, ok := startTime(); ok {
		m.Family("process_start_time_seconds", "gauge", "When this process began, in seconds since 1970.")
		m.Sample(t)
	}
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	m.Family("go_info", "gauge", "The version of Go; always 1.")
	m.Sample(1, "version", runtime.Version())
	m.Family("go_goroutines", "gauge", "Goroutines.")
	m.Sample(float64(runtime.NumGoroutine()))
	m.Family("go_memstats_heap_alloc_bytes", "gauge", "Heap in use.")
	m.Sample(float64(mem.HeapAlloc))
}

// ticksPerSecond is USER_HZ, which is the same on every Linux.
const ticksPerSecond = 100

func startTime() (float64, bool) {
	self, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return 0, false
	}
	// The name may hold blanks and ends at the last bracket; the 22nd field is the
	// 20th behind it.
	fields := bytes.Fields(self[bytes.LastIndexByte(self, ')')+1:])
	system, err := os.ReadFile("/proc/stat")
	_, after, found := bytes.Cut(system, []byte("\nbtime "))
	if err != nil || !found || len(fields) < 20 {
		return 0, false
	}
	boot, _, _ := bytes.Cut(after, []byte("\n"))
	ticks, err1 := strconv.ParseFloat(string(fields[19]), 64)
	began, err2 := strconv.ParseFloat(string(boot), 64)
	return began + ticks/ticksPerSecond, err1 == nil && err2 == nil
}
