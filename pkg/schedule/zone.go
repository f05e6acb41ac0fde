package schedule

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	// For images that have no zoneinfo, such as scratch. It makes the binary
	// 450 KB larger, which the system's copy, if there is one, does not spare; but
	// a schedule that cannot be read on one host of a cluster is worse.
	_ "time/tzdata"
)

// zones has each zone that was asked for, once: the standard library reads the
// file again each time, and keeps 4.5 KB of it for every one of 100,000 jobs. It
// cannot grow beyond the zones that exist.
var zones sync.Map // name to *time.Location

// LoadZone returns the zone of an IANA name such as Europe/Rome, always the same
// pointer for a name. It refuses the empty name, Local, and other names for
// the zone of the host: what a schedule means must not depend on where it is
// read. The error says which name may have been meant.
func LoadZone(name string) (*time.Location, error) {
	if zone, ok := zones.Load(name); ok {
		return zone.(*time.Location), nil
	}
	if err := checkZone(name); err != nil {
		return nil, err
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, unknownZone(name)
	}
	known, _ := zones.LoadOrStore(strings.Clone(name), zone)
	return known.(*time.Location), nil
}

// loadZone is LoadZone for Options.
func loadZone(name string) (*time.Location, *fault) {
	if name == "" {
		return time.UTC, nil
	}
	zone, err := LoadZone(name)
	if err != nil {
		return nil, &fault{cause: err}
	}
	return zone, nil
}

func checkZone(name string) error {
	const longest = 64
	switch dir, _, _ := strings.Cut(strings.ToLower(name), "/"); {
	case name == "":
		return fmt.Errorf("the time zone is empty; UTC is one, and so is Europe/Rome")
	case len(name) > longest:
		return fmt.Errorf("a time zone's name has no more than %d bytes, this one %d", longest, len(name))
	case dir == "local", dir == "localtime", dir == "posixrules":
		return fmt.Errorf("%q is the zone of each host, and these need not agree: name one such as Europe/Rome", name)
	case dir == "right", dir == "posix":
		return fmt.Errorf("%q is not a zone that every host has: leave out %s/", name, dir)
	}
	return nil
}

func unknownZone(name string) error {
	if err := offsetZone(name); err != nil {
		return err
	}
	near := nearZone(name)
	if near == "" {
		return fmt.Errorf("%+q is not a time zone such as UTC or Europe/Rome", name)
	}
	return fmt.Errorf("%+q is not a time zone: did you mean %s?", name, near)
}

// offsetZone is the error for what is meant as an offset from UTC, or nil. The zones
// that have one have it with the sign turned round.
func offsetZone(name string) error {
	offset := strings.TrimPrefix(strings.TrimPrefix(strings.ToUpper(name), "GMT"), "UTC")
	if offset == "" || offset[0] != '+' && offset[0] != '-' {
		return nil
	}
	hours, minutes, colon := strings.Cut(offset[1:], ":")
	if !colon && len(hours) == 4 {
		hours, minutes = hours[:2], hours[2:]
	}
	n, ok := number(hours)
	if !ok || minutes != "" && strings.Trim(minutes, "0123456789") != "" {
		return nil
	}
	sign, where := "-", "ahead of"
	if offset[0] == '-' {
		sign, where = "+", "behind"
	}
	switch zone := fmt.Sprintf("Etc/GMT%s%d", sign, n); {
	case strings.Trim(minutes, "0") != "" || !zoneExists(zone):
		return fmt.Errorf("%+q is an offset and not a time zone: name a place's, such as Asia/Kolkata", name)
	case n == 0:
		return fmt.Errorf("%+q is not a time zone: did you mean UTC?", name)
	default:
		return fmt.Errorf("%+q is not a time zone: did you mean %s (sic), %d h %s UTC, or that of a place, which has summer time?", name, zone, n, where)
	}
}

// abbreviated are what people call the time of a place, where that is the name of no
// zone; of several the best known.
var abbreviated = map[string]string{
	"PST": "America/Los_Angeles", "PDT": "America/Los_Angeles", "MDT": "America/Denver", "CST": "America/Chicago", "CDT": "America/Chicago",
	"EDT": "America/New_York", "AKST": "America/Anchorage", "BRT": "America/Sao_Paulo", "BST": "Europe/London", "IST": "Asia/Kolkata",
	"WEST": "Europe/Lisbon", "CEST": "Europe/Berlin", "EEST": "Europe/Athens", "MSK": "Europe/Moscow", "GST": "Asia/Dubai", "ICT": "Asia/Bangkok",
	"SGT": "Asia/Singapore", "HKT": "Asia/Hong_Kong", "JST": "Asia/Tokyo", "KST": "Asia/Seoul", "AWST": "Australia/Perth",
	"AEST": "Australia/Sydney", "AEDT": "Australia/Sydney", "NZST": "Pacific/Auckland", "NZDT": "Pacific/Auckland", "SAST": "Africa/Johannesburg",
}

// nearZone returns a zone whose name is much like another. It tries what is
// usually wrong: case, a space, a city without its continent; and, where the
// system has a list of the zones, small slips.
func nearZone(name string) string {
	if zone := abbreviated[strings.ToUpper(name)]; zone != "" {
		return zone
	}
	words := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return r == ' ' || r == '_' })
	title := upperInitials(strings.Join(words, "_"))
	for _, guess := range []string{title, strings.ToUpper(name)} {
		if zoneExists(guess) {
			return guess
		}
	}
	if !strings.Contains(name, "/") && title != "" {
		for _, area := range []string{"Europe", "America", "Asia", "Africa", "Australia", "Pacific", "Atlantic", "Indian"} {
			if zoneExists(area + "/" + title) {
				return area + "/" + title
			}
		}
	}
	for _, known := range Zones() {
		// A slip in a name of three letters makes another one.
		if len(name) > 4 && oneSlip(strings.ToLower(known), strings.ToLower(name)) {
			return known
		}
	}
	return ""
}

// upperInitials makes europe/isle_of_man Europe/Isle_of_Man.
func upperInitials(s string) string {
	b := []byte(s)
	for i, c := range b {
		initial := i == 0 || strings.IndexByte("/_-", b[i-1]) >= 0
		rest := string(b[i:])
		if initial && c >= 'a' && c <= 'z' && !strings.HasPrefix(rest, "of_") && !strings.HasPrefix(rest, "es_") {
			b[i] -= 'a' - 'A'
		}
	}
	return string(b)
}

func zoneExists(name string) bool {
	if checkZone(name) != nil {
		return false
	}
	_, err := time.LoadLocation(name)
	return err == nil
}

// oneSlip reports whether a becomes b by one letter more, one less, another, or
// two swapped.
func oneSlip(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	if len(b)-len(a) > 1 {
		return false
	}
	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	if len(a) < len(b) {
		return a[i:] == b[i+1:]
	}
	return i == len(a) || a[i+1:] == b[i+1:] ||
		i+1 < len(a) && a[i] == b[i+1] && a[i+1] == b[i] && a[i+2:] == b[i+2:]
}

// Zones returns the names of the system's zones, or none where it has no list. It reads
// files.
func Zones() []string {
	var names []string
	for _, dir := range zoneDirs() {
		text, _ := os.ReadFile(filepath.Join(dir, "tzdata.zi"))
		for line := range strings.Lines(string(text)) {
			switch f := strings.Fields(line); {
			case len(f) > 1 && f[0] == "Z":
				names = append(names, f[1])
			case len(f) > 2 && f[0] == "L":
				names = append(names, f[2])
			}
		}
	}
	return names
}

// zoneDirs is where the standard library looks for zones before it turns to the
// embedded ones.
func zoneDirs() []string {
	return []string{os.Getenv("ZONEINFO"), "/usr/share/zoneinfo", "/usr/share/lib/zoneinfo", "/usr/lib/locale/TZ", "/etc/zoneinfo"}
}

// TZData returns the version of the time zone data in use, "2026a" or so, the
// system's if it has any. Of a system that does not say it is "unknown", and of
// the copy in the binary it is the version of Go. It reads files.
func TZData() string {
	for _, dir := range zoneDirs() {
		if info, err := os.Stat(dir); err == nil && !info.IsDir() {
			return "unknown" // ZONEINFO may be an archive
		}
		if _, err := os.Stat(filepath.Join(dir, "UTC")); dir == "" || err != nil {
			continue
		}
		if text, err := os.ReadFile(filepath.Join(dir, "+VERSION")); err == nil {
			return strings.TrimSpace(string(text))
		}
		text, _ := os.ReadFile(filepath.Join(dir, "tzdata.zi"))
		line, _, _ := strings.Cut(string(text), "\n")
		if version, ok := strings.CutPrefix(line, "# version "); ok {
			return strings.TrimSpace(version)
		}
		return "unknown"
	}
	return runtime.Version()
}
