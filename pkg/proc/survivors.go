package proc

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Survivor is a living process of a tree.
type Survivor struct {
	Pid    int
	Name   string // as ps shows it
	Asleep bool   // in the kernel, which nothing interrupts: it dies when it wakes
	Others bool   // it has changed its user, and we may not kill it
}

// String is s as messages name it.
func (s Survivor) String() string {
	text := fmt.Sprintf("pid %d (%s)", s.Pid, s.Name)
	switch {
	case s.Others:
		text += " of another user"
	case s.Asleep:
		text += " in uninterruptible sleep"
	}
	return text
}

// Survivors returns the living processes of the tree, as far as they can be found:
// none where there is no usable /proc.
func (t *Tree) Survivors() []Survivor {
	if !nativeProc() {
		return nil
	}
	living := t.descendants()
	if t.adopted() {
		living = sentinels.orphans(t.born)
	}
	var all []Survivor
	for _, p := range living {
		name, err := os.ReadFile("/proc/" + strconv.Itoa(p.pid) + "/comm")
		if err != nil {
			continue // it has ended
		}
		all = append(all, Survivor{p.pid, strings.TrimSuffix(string(name), "\n"), p.state == 'D', unix.Kill(p.pid, 0) == unix.EPERM})
	}
	return all
}

func (t *Tree) adopted() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.gone
}

// orphans returns the living ones among the children that are no sentinels and were
// not born before born, and what is below them.
func (n *nursery) orphans(born uint64) (living []process) {
	n.mu.Lock()
	defer n.mu.Unlock()
	roots := n.strangers(ownChildren(), born)
	for _, p := range append(roots, descendants(roots...)...) {
		if p.state != 'Z' && p.state != 'X' {
			living = append(living, p)
		}
	}
	return living
}
