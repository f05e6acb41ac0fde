package etcd

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A proxy that has no etcd behind it answers gRPC with a page of its own, over
// several lines; the error is one, and in it there are no escapes of a string.
func TestProxyAnswers(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 1 { // conch asks for the version, lest this be a grpc-proxy
			_, _ = w.Write([]byte(`{"etcdserver":"3.7.0","etcdcluster":"3.7.0"}`))
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write([]byte("{\"error\":\"no upstream\",\n \"code\":5}\n" + strings.Repeat("\n", 3)))
	})}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	go srv.Serve(l)
	defer srv.Close()
	c, err := Open(t.Context(), Config{Endpoints: []string{l.Addr().String()}, DialTimeout: 10 * time.Second})
	if err == nil {
		defer c.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		_, _, err = c.get(ctx, 0, "key")
	}
	const want = `no etcd answers there, but HTTP status 503 (Service Unavailable): {"error":"no upstream", "code":5}`
	if !errors.As(err, new(*Unreachable)) || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("%v", err)
	}
}
