package status

// Histogram writes the samples of a histogram: how many were at most each of
// bounds, in the metric's unit, and the sum of all. Of counts there is one more
// than of bounds, for what is above all of them; they are not cumulative.
func (m *Metrics) Histogram(bounds []float64, counts []int64, sum float64) {
	n := int64(0)
	for i, c := range counts {
		le := "+Inf"
		if i < len(bounds) {
			le = number(bounds[i])
		}
		n += c
		m.sample("_bucket", float64(n), "le", le)
	}
	m.sample("_sum", sum)
	m.sample("_count", float64(n))
}
