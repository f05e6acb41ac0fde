package cronrunner

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"conch/pkg/etcd"
	"conch/pkg/etcdtest"
	"conch/pkg/metricstest"
	"conch/pkg/runner"
)

func TestMain(m *testing.M) { etcdtest.M{M: m}.Run() }

func TestMetrics(t *testing.T) {
	c, err := etcd.Open(t.Context(), etcd.Config{Endpoints: []string{etcdtest.Shared(t).Endpoint()}, DialTimeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r, err := runner.New(runner.Config{Etcd: c, Slots: 1, TTL: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	sink, err := runner.OpenSink(runner.SinkConfig{Target: filepath.Join(t.TempDir(), "report"), Warn: func(text string) { t.Error(text) }})
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	var b strings.Builder
	writeMetrics(r, sink)(&b)
	metricstest.Lint(t, b.String())
	for _, want := range []string{
		"conch_runner_ready 0\n", `conch_runner_notifications_total{result="failed"} 0` + "\n", `conch_runner_reports_total{result="lost"} 0` + "\n", "conch_runner_reports_waiting 0\n",
	} {
		if !strings.Contains(b.String(), "\n"+want) {
			t.Errorf("%q is missing:\n%s", want, b.String())
		}
	}
}
