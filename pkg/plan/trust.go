package plan

import "fmt"

// Trust says whether etcd is to be believed. One that has been restored from a backup
// has forgotten what was claimed since: it could be claimed again. Its zero value has
// seen nothing; with Rev and Cluster it is what another has seen. It outlives a
// planner, and is not for many goroutines at once.
type Trust struct {
	Rev     int64  // the highest of etcd's revisions that was seen
	Cluster uint64 // the id of the cluster that was seen; 0: none was

	why     string
	reading bool   // the table is being read, ...
	before  int64  // ... and this is what Rev was when that began
	found   int64  // the revision at which why was found
	offered uint64 // the cluster that there is now
}

const restored = ", as after a restore from a backup: ticks that have run could run again; conch-cron resume --restored says that they may"

// Why says why nothing is to be taken on; empty: etcd is to be believed.
func (t *Trust) Why() string { return t.why }

// Other reports whether that is because etcd is another cluster.
func (t *Trust) Other() bool { return t.why != "" && t.offered != t.Cluster }

// Heard notes a revision that etcd has answered with.
func (t *Trust) Heard(rev int64, cluster uint64) {
	if t.why == "" && (t.Cluster == 0 || t.Cluster == cluster) {
		t.Rev = max(t.Rev, rev)
	}
}

// Reread notes that the table is read from now on. What is heard meanwhile is later
// than what is read, and is not compared with it.
func (t *Trust) Reread() { t.reading, t.before = true, t.Rev }

// Whole notes that the table is as it is at that revision: if it was read, one that is
// lower than what was seen before, or is of another cluster, means that etcd has been
// restored.
func (t *Trust) Whole(rev int64, cluster uint64) {
	if !t.reading {
		t.Heard(rev, cluster)
		return
	}
	t.reading = false
	switch {
	case t.why != "": // what it was stays what it is compared with, and what the next start is told
		t.offered = cluster
		return
	case t.Cluster != 0 && cluster != 0 && t.Cluster != cluster:
		t.why = "etcd is another cluster than before" + restored
	case rev < min(t.before, t.Rev):
		t.why = fmt.Sprintf("etcd's revision went back from %d to %d%s", t.before, rev, restored)
	default:
		t.Cluster, t.Rev = cluster, max(t.Rev, rev)
		return
	}
	t.offered, t.found = cluster, rev
}

// GoOn notes an operator's word, of that revision, that etcd is to be believed.
func (t *Trust) GoOn(rev int64) {
	if t.why != "" && rev > t.found {
		t.why, t.Rev, t.Cluster = "", rev, t.offered
	}
}
