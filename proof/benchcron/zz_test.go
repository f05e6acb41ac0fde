package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"testing"
	"time"

	"conch/pkg/keys"
	rn "conch/pkg/runner"
)

func TestZZ(t *testing.T) {
	if os.Getenv("ZZ") == "" {
		t.Skip()
	}
	w, err := newWorld(&options{}, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	const space = keys.Space("/bench/load")
	if err := w.put(t.Context(), space.Cron(), 100000, mixed(time.Now())); err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	var m0, m runtime.MemStats
	runtime.ReadMemStats(&m0)
	c, err := w.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f, _ := os.Create("/tmp/cbc/cpu.prof")
	pprof.StartCPUProfile(f)
	ready := make(chan struct{})
	began := time.Now()
	r, err := rn.New(rn.Config{Etcd: c, Space: space, Host: "h", Slots: 32, Placement: rn.Spread, TTL: 10 * time.Second, KillAfter: time.Second, Hedge: 2 * time.Second, Drain: time.Second,
		Said: func(e rn.Event) {
			if e.Event == "ready" {
				close(ready)
			}
		}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { r.Run(ctx); close(done) }()
	<-ready
	fmt.Println("ready", time.Since(began))
	pprof.StopCPUProfile()
	f.Close()
	runtime.ReadMemStats(&m)
	fmt.Printf("before GC: heap %d sys %d numgc %d totalalloc %d\n", (m.HeapAlloc)>>20, m.Sys>>20, m.NumGC-m0.NumGC, (m.TotalAlloc-m0.TotalAlloc)>>20)
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	fmt.Printf("after GC: heap %d (before %d) sys %d\n", (m.HeapAlloc)>>20, m0.HeapAlloc>>20, m.Sys>>20)
	h, _ := os.Create("/tmp/cbc/heap.prof")
	pprof.Lookup("heap").WriteTo(h, 0)
	h.Close()
	cancel()
	<-done
}
