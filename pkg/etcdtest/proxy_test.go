package etcdtest_test

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"conch/pkg/etcdtest"
)

// echo is a server that sends back what it gets.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c); c.Close() }()
		}
	}()
	return l.Addr().String()
}

func dial(t *testing.T) (*etcdtest.Proxy, net.Conn) {
	t.Helper()
	p, err := etcdtest.NewProxy(echo(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return p, c
}

// say sends a word and reports whether it comes back within d.
func say(t *testing.T, c net.Conn, word string, d time.Duration) bool {
	t.Helper()
	if _, err := c.Write([]byte(word)); err != nil {
		t.Fatal(err)
	}
	return hear(c, word, d)
}

func hear(c net.Conn, word string, d time.Duration) bool {
	_ = c.SetReadDeadline(time.Now().Add(d))
	buf := make([]byte, len(word))
	_, err := io.ReadFull(c, buf)
	return err == nil && string(buf) == word
}

const short, long = 50 * time.Millisecond, 10 * time.Second

func TestProxyHoldsWhatIsCut(t *testing.T) {
	t.Parallel()
	cuts := map[string]func(*etcdtest.Proxy){
		"both": (*etcdtest.Proxy).Cut, "out": (*etcdtest.Proxy).CutOut, "in": (*etcdtest.Proxy).CutIn,
		"from": func(p *etcdtest.Proxy) { p.CutFrom("ef") },
	}
	for name, cut := range cuts {
		t.Run(name, func(t *testing.T) {
			p, c := dial(t)
			if !say(t, c, "before", long) {
				t.Fatal("not through before the cut")
			}
			before := p.Stats()
			cut(p)
			if say(t, c, "during", short) {
				t.Fatal("through a cut road")
			}
			reached := func() bool { return p.Stats().BytesOut > before.BytesOut }
			for end := time.Now().Add(long); name == "in" && !reached() && time.Now().Before(end); {
				time.Sleep(time.Millisecond)
			}
			if reached() != (name == "in") {
				t.Errorf("reached the server: %v", reached())
			}
			if err := p.Heal(); err != nil {
				t.Fatal(err)
			}
			if !hear(c, "during", long) {
				t.Error("what was held did not come")
			}
		})
	}
}

func TestProxyHoldsNobodyElses(t *testing.T) {
	t.Parallel()
	p, c := dial(t)
	p.CutFrom("others")
	for _, word := range []string{"before", "after"} {
		if !say(t, c, word, long) {
			t.Fatalf("%q did not come through", word)
		}
	}
}

func TestProxyDelaysWithoutLimiting(t *testing.T) {
	t.Parallel()
	p, c := dial(t)
	p.Delay(300 * time.Millisecond)
	begin := time.Now()
	for range 20 { // 20 words under way at once, not one after the other
		if _, err := c.Write([]byte("word")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	for range 20 {
		if !hear(c, "word", long) {
			t.Fatal("lost a word")
		}
	}
	if took := time.Since(begin); took < 600*time.Millisecond || took > 6*time.Second {
		t.Errorf("20 words over 2 x 300 ms took %v", took)
	}
}

func TestProxyCountsTrips(t *testing.T) {
	t.Parallel()
	p, c := dial(t)
	for range 3 {
		if !say(t, c, "ping", long) {
			t.Fatal("no echo")
		}
	}
	want := etcdtest.Stats{Conns: 1, Trips: 3, BytesOut: 12, BytesIn: 12}
	if got := p.Stats(); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestProxyRefusesAndDrops(t *testing.T) {
	t.Parallel()
	p, c := dial(t)
	if !say(t, c, "a", long) {
		t.Fatal("no echo")
	}
	p.Refuse()
	if _, err := net.Dial("tcp", p.Addr()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial while refused: %v", err)
	}
	if !say(t, c, "b", long) {
		t.Error("refusing closed an open connection")
	}
	p.Drop()
	_ = c.SetReadDeadline(time.Now().Add(long))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read after a drop: %v", err)
	}
	if err := p.Heal(); err != nil {
		t.Fatal(err)
	}
	c2, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c2.Close()
	if !say(t, c2, "c", long) {
		t.Error("no echo after healing")
	}
}
