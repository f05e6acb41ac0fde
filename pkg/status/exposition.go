package status

import (
	"bufio"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ContentType is that of what Metrics writes.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// Metrics writes metrics in Prometheus' text format. An error of writing is kept
// for Flush.
type Metrics struct {
	w    *bufio.Writer
	name string
}

// NewMetrics returns a Metrics that writes to w.
func NewMetrics(w io.Writer) *Metrics { return &Metrics{w: bufio.NewWriter(w)} }

// Family begins a metric: counter, gauge or histogram. What follows are samples
// of it.
func (m *Metrics) Family(name, kind, help string) {
	m.name = name
	help = strings.NewReplacer(`\`, `\\`, "\n", `\n`).Replace(help)
	m.write("# HELP ", name, " ", help, "\n# TYPE ", name, " ", kind, "\n")
}

// Sample writes a value. Labels are names and values in turn.
func (m *Metrics) Sample(value float64, labels ...string) { m.sample("", value, labels...) }

// Flag writes 1 or 0.
func (m *Metrics) Flag(is bool, labels ...string) {
	value := 0.0
	if is {
		value = 1
	}
	m.Sample(value, labels...)
}

// Time writes a time in seconds since 1970, and nothing for the zero time.
func (m *Metrics) Time(t time.Time, labels ...string) {
	if !t.IsZero() {
		m.Sample(float64(t.UnixMilli())/1000, labels...)
	}
}

// Flush writes what is left.
func (m *Metrics) Flush() error { return m.w.Flush() }

func (m *Metrics) sample(suffix string, value float64, labels ...string) {
	m.write(m.name, suffix)
	for i := 0; i+1 < len(labels); i += 2 {
		sep := ","
		if i == 0 {
			sep = "{"
		}
		m.write(sep, labels[i], `="`, escape(labels[i+1]), `"`)
	}
	if len(labels) > 0 {
		m.write("}")
	}
	m.write(" ", number(value), "\n")
}

func (m *Metrics) write(parts ...string) {
	for _, p := range parts {
		_, _ = m.w.WriteString(p) // Flush says it
	}
}

// Histogram writes the samples of a histogram: how many were at most each of
// bounds, in the metric's unit, and the sum of all. Of counts there is one more
// than of bounds, for what is above all of them; they are not cumulative.
// Labels are as of Sample.
func (m *Metrics) Histogram(bounds []float64, counts []int64, sum float64, labels ...string) {
	n := int64(0)
	for i, c := range counts {
		le := "+Inf"
		if i < len(bounds) {
			le = number(bounds[i])
		}
		n += c
		m.sample("_bucket", float64(n), append(slices.Clone(labels), "le", le)...)
	}
	m.sample("_sum", sum, labels...)
	m.sample("_count", float64(n), labels...)
}

func number(v float64) string {
	if math.IsInf(v, 1) {
		return "+Inf"
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}

// escape makes a label's value of any text.
func escape(s string) string {
	if !strings.ContainsAny(s, "\\\"\n") && strings.ToValidUTF8(s, "") == s {
		return s
	}
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(strings.ToValidUTF8(s, "\uFFFD"))
}
