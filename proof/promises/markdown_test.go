package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"conch/pkg/etcdtest"
)

// Each fault has its place in the table, and docs/promises.md has that table.
func TestTable(t *testing.T) {
	all := slices.Concat(contenderFaults, clusterFaults)
	in := map[string]int{}
	for _, line := range table {
		for _, name := range line.faults {
			in[name]++
		}
	}
	for _, f := range all {
		if in[f.name] != 1 {
			t.Errorf("%s is in %d lines of the table", f.name, in[f.name])
		}
		delete(in, f.name)
	}
	for name := range in {
		t.Errorf("there is no fault %s", name)
	}

	root, err := etcdtest.Root()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(root, "docs/promises.md"))
	if err != nil {
		t.Fatal(err)
	}
	docs := strings.Join(strings.Fields(string(b)), " ")
	for _, line := range table {
		if !strings.Contains(docs, "| "+line.what+" | ") {
			t.Errorf("docs/promises.md has no line for: %s", line.what)
		}
	}
	if kinds := fmt.Sprintf("%d kinds of faults", len(all)); !strings.Contains(docs, kinds) {
		t.Errorf("docs/promises.md does not speak of %s", kinds)
	}
}

func TestMarkdown(t *testing.T) {
	ms := time.Millisecond
	r := newReport()
	r.acquisitions, r.idle = 1603, 430*ms
	*r.row("supervisor killed") = row{struck: 1033, next: []time.Duration{11 * ms, 430 * ms, 20 * ms}}
	*r.row("leader stopped, long") = row{struck: 72, kept: 62, next: []time.Duration{5 * time.Second}}
	*r.row("host cut off, short") = row{struck: 50, kept: 49}
	*r.row("both stopped, short") = row{struck: 50, kept: 50}
	*r.row("waiter killed, first") = row{struck: 3, next: []time.Duration{9 * ms}}
	*r.row("lease revoked, host cut off") = row{struck: 2, named: 1, namedFor: 1720 * ms}
	var out strings.Builder
	r.markdown(&out, 5, 3*time.Second)
	const want = `What came of 5 such runs, with a TTL of 3 seconds: 1,210 faults,
1,603 acquisitions, no overlap, no survivor, no token out of order,
no turn stuck, no history that is not linearizable, and no key or lease
in etcd at the end that was nobody's. The longest that a turn was nobody's after
an end or a single kill, while somebody stood in line, was 430 ms.

| struck | times | the hold | next start, median and longest |
|---|---|---|---|
| supervisor killed | 1,033 | ended | 20 ms, 430 ms |
| first in line killed | 3 | passed on | 9 ms, 9 ms |
| stops and cuts shorter than the TTL | 100 | kept, but for 1 | |
| lease revoked while cut off or stopped | 2 | ended; overlaps of 1.7 s at most; none with ` + "`--lock-delay ttl`" + ` | |
| leader stopped for longer than the TTL | 72 | kept 62 times, lost 10 times | 5.0 s, 5.0 s |
`
	if got := out.String(); got != want {
		t.Errorf("got:\n%s", got)
	}
}
