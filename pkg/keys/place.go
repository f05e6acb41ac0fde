package keys

import "strings"

// Turns returns the ranges, from a key up to and without another, in which all
// offices and semaphores lie: their candidates, records and capacities.
func (s Space) Turns() [2][2]string {
	all := func(prefix string) string { return string(s) + "/" + prefix }
	// "-" sorts before "/", and "0" is what follows that.
	return [2][2]string{
		{all("elect-run/"), all("elect0")},
		{all("sema-host-run/"), all("sema0")},
	}
}

// Place says what a key of an office or a semaphore is about.
type Place struct {
	Kind PlaceKind
	Name string // of the office or the semaphore
	Host string // PoolHostCandidate: for which host, or other label
}

// PlaceKind is what lies at a key.
type PlaceKind int

// The places that others than the holder look at.
const (
	OfficeCandidate PlaceKind = iota + 1
	OfficeRecord
	PoolCandidate
	PoolCap
	PoolHostCandidate
)

// Place says what key is about; false: it is none of these.
func (s Space) Place(key string) (Place, bool) {
	rest, ok := strings.CutPrefix(key, string(s)+"/")
	if !ok {
		return Place{}, false
	}
	part := strings.Split(rest, "/")
	is := func(dir string, n int) bool {
		return part[0] == dir && len(part) == n && part[1] != "" && part[n-1] != ""
	}
	switch {
	case is("elect", 3):
		return Place{Kind: OfficeCandidate, Name: part[1]}, true
	case is("elect-run", 3):
		return Place{Kind: OfficeRecord, Name: part[1]}, true
	case is("sema", 3):
		return Place{Kind: PoolCandidate, Name: part[1]}, true
	case is("sema-state", 3) && part[2] == "cap":
		return Place{Kind: PoolCap, Name: part[1]}, true
	case is("sema-host", 4):
		return Place{Kind: PoolHostCandidate, Name: part[1], Host: part[2]}, true
	}
	return Place{}, false
}
