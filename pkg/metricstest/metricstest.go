// Package metricstest checks what is written for Prometheus. It is for tests alone, and
// knows no metric by its name.
package metricstest

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var (
	metricName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	sampleLine = regexp.MustCompile(`^([a-z][a-z0-9_]*)(?:\{(.*)\})? (\S+)$`)
	labelPair  = regexp.MustCompile(`^([a-z_][a-z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(,|$)`)
)

// Lint checks the rules of Prometheus' text format, and those for names: units
// are base units and come last, counters alone end in _total. It returns how many families there are.
func Lint(t testing.TB, text string) (families int) {
	t.Helper()
	if !strings.HasSuffix(text, "\n") {
		t.Error("the last line is not ended")
	}
	known, series := map[string]string{}, map[string]bool{}
	var family, helped string
	buckets := 0.0
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		switch f := strings.SplitN(line, " ", 4); {
		case strings.HasPrefix(line, "# HELP "):
			helped = f[2]
			if len(f) < 4 || !strings.HasSuffix(line, ".") && !strings.HasSuffix(line, "1") {
				t.Errorf("no help: %s", line)
			}
		case strings.HasPrefix(line, "# TYPE "):
			family = f[2]
			lintFamily(t, family, f[3], helped)
			if _, twice := known[family]; twice {
				t.Errorf("%s comes twice", family)
			}
			known[family], buckets = f[3], -1
		default:
			m := sampleLine.FindStringSubmatch(line)
			if m == nil {
				t.Errorf("not a sample: %q", line)
				continue
			}
			name := m[1]
			if known[family] == "histogram" {
				name = strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_sum"), "_count")
			}
			if name != family {
				t.Errorf("%s is among those of %s", line, family)
			}
			value, err := strconv.ParseFloat(m[3], 64)
			if err != nil || math.IsNaN(value) {
				t.Errorf("no value: %s", line)
			}
			if id := m[1] + "{" + m[2]; series[id] {
				t.Errorf("twice: %s", line)
			} else {
				series[id] = true
			}
			if strings.HasSuffix(m[1], "_count") {
				buckets = -1 // what follows is another series'
			}
			if strings.HasSuffix(m[1], "_bucket") {
				if value < buckets {
					t.Errorf("not cumulative: %s", line)
				}
				buckets = value
			}
			lintLabels(t, m[2])
		}
	}
	return len(known)
}

func lintFamily(t testing.TB, name, kind, helped string) {
	t.Helper()
	if helped != name {
		t.Errorf("%s has no help in front", name)
	}
	if !metricName.MatchString(name) {
		t.Errorf("%s is no name", name)
	}
	if (kind == "counter") != strings.HasSuffix(name, "_total") {
		t.Errorf("%s is a %s", name, kind)
	}
	if kind != "counter" && kind != "gauge" && kind != "histogram" {
		t.Errorf("%s is a %s", name, kind)
	}
	for _, unit := range []string{"_milliseconds", "_ms", "_minutes", "_hours", "_kilobytes", "_megabytes", "_percent"} {
		if strings.HasSuffix(name, unit) {
			t.Errorf("%s is not in base units", name)
		}
	}
}

func lintLabels(t testing.TB, text string) {
	t.Helper()
	names := map[string]bool{}
	for text != "" {
		m := labelPair.FindStringSubmatch(text)
		if m == nil {
			t.Errorf("no labels: %s", text)
			return
		}
		if names[m[1]] || strings.HasPrefix(m[1], "__") {
			t.Errorf("label %s", m[1])
		}
		names[m[1]] = true
		text = text[len(m[0]):]
	}
}
