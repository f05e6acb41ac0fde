package cronrunner

import (
	"io"
	"slices"

	"conch/pkg/cron"
	"conch/pkg/runner"
	"conch/pkg/status"
)

// writeMetrics adds this runner's own counts to /metrics. sink may be nil.
func writeMetrics(r *runner.Runner, sink *runner.Sink) func(io.Writer) {
	return func(w io.Writer) {
		s := r.Stats()
		m := status.NewMetrics(w)
		m.Family("conch_runner_ready", "gauge", "Whether this runner knows all jobs and takes them on.")
		m.Flag(s.Ready)
		m.Family("conch_runner_slots_used", "gauge", "Runs of this runner in progress.")
		m.Sample(float64(s.Running))
		m.Family("conch_runner_claims_total", "counter", "Runs that this runner has claimed.")
		m.Sample(float64(s.Claims))
		m.Family("conch_runner_skipped_total", "counter", "Ticks that were skipped because an earlier run was in progress, as this runner would have claimed them.")
		m.Sample(float64(s.Skipped))
		m.Family("conch_runner_missed_total", "counter", "Ticks that were too late by more than their job's deadline, as this runner would have claimed them.")
		m.Sample(float64(s.Missed))
		m.Family("conch_runner_results_total", "counter", "Runs that this runner has recorded the end of.")
		states := make([]cron.State, 0, len(s.Results))
		for state := range s.Results {
			states = append(states, state)
		}
		slices.Sort(states)
		for _, state := range states {
			m.Sample(float64(s.Results[state]), "state", string(state))
		}
		m.Family("conch_runner_lateness_seconds", "histogram", "From when a run was due to when its command was started.")
		m.Histogram(s.Lateness.Bounds, s.Lateness.Counts, s.Lateness.Sum)
		m.Family("conch_runner_notifications_total", "counter", "Commands that were to tell of how a run has ended.")
		m.Sample(float64(s.Notified), "result", "ok")
		m.Sample(float64(s.Unnotified), "result", "failed")
		if sink != nil {
			writeReports(m, sink)
		}
		_ = m.Flush()
	}
}

func writeReports(m *status.Metrics, sink *runner.Sink) {
	results, waiting := sink.Counts()
	m.Family("conch_runner_reports_total", "counter", "Reports by what became of them.")
	m.Sample(float64(results[runner.Delivered]), "result", "delivered")
	m.Sample(float64(results[runner.Rejected]), "result", "refused")
	m.Sample(float64(results[runner.Dropped]), "result", "lost")
	m.Family("conch_runner_reports_waiting", "gauge", "Reports that have not been delivered.")
	m.Sample(float64(waiting))
}
