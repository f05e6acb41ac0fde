package lease

import (
	"context"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/etcdtest"
)

// heeded keeps a lease that tells of the values of its key.
func heeded(t *testing.T, ttl, interval time.Duration) (f *fixture, values chan string) {
	t.Helper()
	values = make(chan string, 1000)
	f = granted(t, ttl, etcdtest.Shared(t))
	f.Heed(func(v []byte) {
		select {
		case values <- string(v):
		default:
		}
	})
	f.Keep(f.key, f.rev, interval)
	t.Cleanup(func() { _ = f.Revoke(context.Background()) }) // its TTL is long, and the key that of the next time
	return f, values
}

// hears waits until a value has been heard.
func hears(t *testing.T, values chan string, want string) {
	t.Helper()
	for end := time.After(20 * time.Second); ; {
		select {
		case v := <-values:
			if v == want {
				return
			}
		case <-end:
			t.Fatalf("%q was not heard", want)
		}
	}
}

// What others put in the key, under its lease, is heard by the watch, long before a
// renewal, and is no loss.
func TestHeed(t *testing.T) {
	f, values := heeded(t, MaxTTL, MaxTTL/4)
	for _, v := range []string{"one", "two"} {
		if _, err := f.admin.Put(within(t, 10*time.Second), f.key, v, clientv3.WithIgnoreLease()); err != nil {
			t.Fatal(err)
		}
		hears(t, values, v)
	}
	if f.isLost() {
		t.Errorf("lost: %v", f.Loss())
	}
}

// What the watch has missed the next renewal sees: here it is what was there before.
func TestHeedRenewal(t *testing.T) {
	_, values := heeded(t, 10*time.Second, 200*time.Millisecond)
	hears(t, values, "")
}
