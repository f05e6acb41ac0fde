package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime/pprof"
	"strings"
	"syscall"
	"testing"
	"time"

	"conch/pkg/etcdtest"
)

func TestZZ2(t *testing.T) {
	if os.Getenv("ZZ") == "" {
		t.Skip()
	}
	takePrecedence()
	w := &world{options: &options{}}
	var err error
	w.members, err = etcdtest.StartCluster(3, etcdtest.Options{AsShipped: true, Args: []string{"--enable-pprof"}})
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	w.client, err = w.members[0].Client("", "")
	if err != nil {
		t.Fatal(err)
	}
	etcdCPU := func() (s []string) {
		for _, m := range w.members {
			b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", m.Pid()))
			f := strings.Fields(string(b))
			s = append(s, f[13]+"+"+f[14])
		}
		return
	}
	prof := make(chan bool)
	lead := 0
	for i, m := range w.members {
		if l, _ := m.Leads(t.Context()); l {
			lead = i
		}
	}
	go func() {
		time.Sleep(1000 * time.Millisecond)
		r, err := http.Get(w.members[lead].Endpoint() + "/debug/pprof/profile?seconds=3")
		if err == nil {
			b, _ := io.ReadAll(r.Body)
			os.WriteFile("/tmp/cbc/etcd.prof", b, 0o644)
		}
		close(prof)
	}()
	f, _ := os.Create("/tmp/cbc/led.prof")
	pprof.StartCPUProfile(f)
	fmt.Println("etcd before", etcdCPU())
	var r0, r1 syscall.Rusage
	syscall.Getrusage(0, &r0)
	b := time.Now()
	o, err := w.ledgers(t.Context(), "/bench/burst", 3, 5000)
	fmt.Println(o, o.over, err, time.Since(b))
	syscall.Getrusage(0, &r1)
	fmt.Println("etcd after", etcdCPU(), "self user", r1.Utime.Nano()/1e6-r0.Utime.Nano()/1e6, "sys", r1.Stime.Nano()/1e6-r0.Stime.Nano()/1e6)
	pprof.StopCPUProfile()
	f.Close()
	<-prof
	for _, p := range []peer{race, reference} {
		syscall.Getrusage(0, &r0)
		fmt.Println("etcd before", etcdCPU())
		o, err = p.contend(t.Context(), w, 3, 5000)
		syscall.Getrusage(0, &r1)
		fmt.Println(p.name, o, o.over, err)
		fmt.Println("etcd after", etcdCPU(), "self user", r1.Utime.Nano()/1e6-r0.Utime.Nano()/1e6, "sys", r1.Stime.Nano()/1e6-r0.Stime.Nano()/1e6)
	}
}
