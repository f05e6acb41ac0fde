package status

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Handler answers, to GET and HEAD,
//
//	/elect /sema /cron            as the reference does: JSON
//	/livez /healthz /health       200 while this process answers
//	/readyz /ready                200 if k is in step, and why has nothing to say, else 503 with the reason
//	/metrics                      for Prometheus; extra, if not nil, appends to it
//	/cluster/status               how much there is, and whether k is in step;
//	/failover/status              the same, since etcd does the failing over
//
// Where k is not in step, the first three are 503. why, if not nil, says why whoever
// serves it is not ready itself, or "".
func Handler(k *Keeper, extra func(w io.Writer), why func() string) http.Handler {
	h := handler{k, extra, why}
	mux := http.NewServeMux()
	get := func(path string, f http.HandlerFunc) { mux.HandleFunc("GET "+path, f) }
	get("/elect", h.list((*Snapshot).writeElect))
	get("/sema", h.list((*Snapshot).writeSema))
	get("/cron", h.list((*Snapshot).writeCron))
	for _, path := range []string{"/livez", "/healthz", "/health"} {
		get(path, live)
	}
	for _, path := range []string{"/readyz", "/ready"} {
		get(path, h.ready)
	}
	get("/metrics", h.metrics)
	get("/cluster/status", h.cluster)
	get("/failover/status", h.cluster)
	return mux
}

type handler struct {
	*Keeper
	extra func(w io.Writer)
	why   func() string
}

func as(w http.ResponseWriter, contentType string) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
}

func live(w http.ResponseWriter, _ *http.Request) {
	as(w, "text/plain; charset=utf-8")
	fmt.Fprintln(w, "ok")
}

func unavailable(w http.ResponseWriter, why string) {
	as(w, "text/plain; charset=utf-8")
	w.WriteHeader(http.StatusServiceUnavailable)
	fmt.Fprintln(w, "not ready:", why)
}

func (h handler) ready(w http.ResponseWriter, r *http.Request) {
	why := h.reason()
	if why == "" && h.why != nil {
		why = h.why()
	}
	if why != "" {
		unavailable(w, why)
		return
	}
	live(w, r)
}

// list answers with what write makes of a Snapshot. Whoever breaks off while it
// is written need not be told of.
func (h handler) list(write func(*Snapshot, io.Writer, time.Time) error) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		s := h.Snapshot()
		if s.Stale != "" {
			unavailable(w, s.Stale)
			return
		}
		as(w, "application/json")
		_ = write(&s, w, time.Now())
	}
}

func (h handler) metrics(w http.ResponseWriter, _ *http.Request) {
	as(w, ContentType)
	m := NewMetrics(w)
	h.Keeper.metrics(m, time.Now())
	if m.Flush() == nil && h.extra != nil {
		h.extra(w)
	}
}

// clusterJSON is /cluster/status.
type clusterJSON struct {
	State      string     `json:"state"` // ready, stale
	Reason     string     `json:"reason,omitempty"`
	Cluster    string     `json:"cluster"`
	Rev        int64      `json:"rev"`
	At         *time.Time `json:"at"` // when etcd was last heard of
	Paused     bool       `json:"paused"`
	Offices    int        `json:"offices"`
	Semaphores int        `json:"semaphores"`
	Jobs       int        `json:"jobs"`
	Running    int        `json:"running"`
	Runners    int        `json:"runners"`
}

func (h handler) cluster(w http.ResponseWriter, _ *http.Request) {
	s := h.Snapshot()
	c := clusterJSON{"ready", s.Stale, fmt.Sprintf("%x", s.Cluster), s.Rev, moment(s.At), s.Paused,
		len(s.Offices), len(s.Semaphores), len(s.Jobs), len(s.Running), len(s.Runners)}
	if s.Stale != "" {
		c.State = "stale"
	}
	as(w, "application/json")
	_ = json.NewEncoder(w).Encode(c) // who has gone need not be told
}
