package guard_test

import (
	"fmt"
	"os"
	"testing"

	"conch/pkg/etcdtest"
	"conch/pkg/guard"
)

// server is for the example, which has no testing.TB to ask for one.
var server *etcdtest.Server

func TestMain(m *testing.M) {
	if os.Getenv(guard.Apart) != "" {
		os.Exit(m.Run())
	}
	var err error
	if server, err = etcdtest.Start(etcdtest.Options{}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		panic(err)
	}
	defer server.Close()
	m.Run()
}

func endpoint() string { return server.Endpoint() }
