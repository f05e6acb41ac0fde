package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// Between the start of a command and that of its daemon the turn before may still
// seem to be at work. A fault that ended that one would wait for nobody.
func TestNewest(t *testing.T) {
	o := &office{name: "o", ledger: t.TempDir()}
	dir := filepath.Join(o.ledger, o.name)
	if err := os.Mkdir(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	now := boottime()
	begin := func(token int, role string, from int64) {
		t.Helper()
		b := binary.NativeEndian.AppendUint64(nil, uint64(from))
		b = binary.NativeEndian.AppendUint64(b, uint64(now))
		b = binary.NativeEndian.AppendUint64(b, 0)
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d_run%d_%s_1", token, token, role)), b, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for token := range 3 {
		run := supervisor{run: fmt.Sprintf("run%d", token)}
		o.contenders = append(o.contenders, &contender{runs: []supervisor{run}})
	}
	begin(1, roleCommand, now-2*second)
	begin(1, roleDaemon, now-2*second)
	if got, err := o.newest(1); err != nil || got.token != 1 {
		t.Fatalf("token %d, %v", got.token, err)
	}
	begin(2, roleCommand, now-second)
	if got, err := o.newest(1); err == nil {
		t.Errorf("token %d, when 2 is about to be at work", got.token)
	}
	begin(2, roleDaemon, now-second)
	if got, err := o.newest(1); err != nil || got.token != 2 {
		t.Errorf("token %d, %v", got.token, err)
	}
}
