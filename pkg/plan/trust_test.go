package plan

import (
	"strings"
	"testing"
)

func (t *Trust) read(rev int64, cluster uint64) {
	t.Reread()
	t.Whole(rev, cluster)
}

// A reading that is older than what was told before, of etcd restored under a runner
// that lives on, lets it stand by.
func TestReadsOfOlderHistory(t *testing.T) {
	var s Trust
	stands := func(want bool, what string) {
		t.Helper()
		if (s.Why() != "") != want {
			t.Errorf("%s: standby %q", what, s.Why())
		}
	}
	s.read(100, 0)
	stands(false, "at first")
	s.Reread()
	s.Heard(120, 0) // by a later page
	s.Whole(110, 0)
	stands(false, "what came while it read counts as read")
	s.read(115, 0)
	stands(true, "a history that is older than what it has heard of")
	if want := "etcd's revision went back from 120 to 115, as after a restore from a backup: "; !strings.HasPrefix(s.Why(), want) {
		t.Errorf("it says %q", s.Why())
	}
	s.GoOn(115) // which the backup holds
	stands(true, "a word that is not new")
	s.GoOn(116)
	stands(false, "it may go on")
	s.Whole(130, 0)
	s.read(125, 0)
	stands(true, "it was told of more")
	if s.Rev != 130 {
		t.Errorf("the next start is told of %d", s.Rev)
	}
	s.GoOn(126)
	stands(false, "it may go on")
	s.read(50, 0)
	stands(true, "a history that is older than the operator's word")
	s.Heard(200, 0)
	if s.Rev != 126 {
		t.Errorf("it keeps %d, which is not to be trusted", s.Rev)
	}
}

// The revisions of another cluster say nothing about those of this one.
func TestReadsOfOtherCluster(t *testing.T) {
	var s Trust
	s.read(100, 1)
	s.Heard(5000, 2) // it is heard of before it is read
	s.read(5000, 2)
	if want := "etcd is another cluster than before, as after a restore from a backup: "; !strings.HasPrefix(s.Why(), want) {
		t.Errorf("it goes on with another cluster: %q", s.Why())
	}
	if s.Rev != 100 || s.Cluster != 1 {
		t.Errorf("it keeps %+v", s)
	}
	s.read(5001, 3) // and that by another one
	s.GoOn(5002)
	if s.Why() != "" || s.Rev != 5002 || s.Cluster != 3 {
		t.Errorf("after an operator's word: %+v", s)
	}
	s.read(5003, 3)
	if s.Why() != "" {
		t.Errorf("it stands by: %s", s.Why())
	}
}

// What an earlier start has seen counts.
func TestReadsOfEarlierStart(t *testing.T) {
	for _, other := range []Trust{{Rev: 100, Cluster: 1}, {Rev: 5, Cluster: 2}} {
		other.read(99, 1)
		if other.Why() == "" {
			t.Errorf("it goes on: %+v", other)
		}
	}
}
