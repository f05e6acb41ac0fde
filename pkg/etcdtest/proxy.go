package etcdtest

import (
	"bytes"
	"net"
	"sync"
	"time"
)

// A Proxy is a road of TCP to one address. It can be cut, which is what a
// partition looks like: connections stay open, and what is sent waits.
// "In" is the direction from the server, "out" the one to it.
type Proxy struct {
	addr string

	mu       sync.Mutex
	target   string
	changed  *sync.Cond // of anything below
	listener net.Listener
	conns    map[*road]bool
	cut      [2]bool // by direction
	cutFrom  []byte  // nil: nobody
	delay    time.Duration
	closed   bool
	stats    Stats
	wg       sync.WaitGroup
}

// Stats counts what has crossed the road.
type Stats struct {
	Conns    int
	Trips    int // an upper bound on round trips: how often the client spoke after the server had
	BytesOut int64
	BytesIn  int64
}

const (
	out = iota
	in
)

// road is one connection through the proxy.
type road struct {
	client, server net.Conn
	lastOut        bool   // the last bytes went to the server
	said           []byte // of what went to the server, the first maxSaid
}

// NewProxy listens on a free port of 127.0.0.1 and forwards to target.
func NewProxy(target string) (*Proxy, error) {
	var l net.Listener
	var addr string
	for try := 0; ; try++ {
		port, err := freePorts(1)
		if err != nil {
			return nil, err
		}
		addr = (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port[0]}).String()
		if l, err = net.Listen("tcp", addr); err == nil {
			break
		} else if try == 5 {
			return nil, err
		}
	}
	p := &Proxy{addr: addr, target: target, conns: map[*road]bool{}}
	p.changed = sync.NewCond(&p.mu)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.accept(l)
	return p, nil
}

// Addr returns the host and port to connect to.
func (p *Proxy) Addr() string { return p.addr }

// Cut holds the bytes of both directions. New connections are taken and see
// nothing.
func (p *Proxy) Cut() { p.Hold(true, true) }

// Hold holds the bytes of the directions that are given, and lets those of the
// others through.
func (p *Proxy) Hold(toServer, fromServer bool) {
	p.set(func() { p.cut = [2]bool{out: toServer, in: fromServer} })
}

// CutOut holds what clients send.
func (p *Proxy) CutOut() { p.set(func() { p.cut[out] = true }) }

// CutIn holds what the server sends.
func (p *Proxy) CutIn() { p.set(func() { p.cut[in] = true }) }

const maxSaid = 8 << 10

// CutFrom holds the bytes of the connections on which the client begins by saying
// these words, as in the header of one of its first requests.
func (p *Proxy) CutFrom(words string) { p.set(func() { p.cutFrom = []byte(words) }) }

// Delay lets every byte travel d in each direction, as a long road would: it
// does not limit how much is under way.
func (p *Proxy) Delay(d time.Duration) { p.set(func() { p.delay = d }) }

// Heal lets held bytes through and undoes Cut, CutOut, CutIn, CutFrom and Refuse.
func (p *Proxy) Heal() error {
	p.set(func() { p.cut, p.cutFrom = [2]bool{}, nil })
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil || p.closed {
		return nil
	}
	l, err := net.Listen("tcp", p.addr)
	if err != nil {
		return err
	}
	p.accept(l)
	return nil
}

// Lead leads new connections to another address, as if another server had come to
// lie at this one, and resets those there are.
func (p *Proxy) Lead(target string) {
	p.set(func() { p.target = target })
	p.Drop()
}

// Refuse refuses new connections; those there are stay.
func (p *Proxy) Refuse() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil {
		p.listener.Close()
		p.listener = nil
	}
}

// Drop resets every connection.
func (p *Proxy) Drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for r := range p.conns {
		r.reset()
	}
}

// Stats returns the counts since the last Reset.
func (p *Proxy) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stats
}

// Reset sets the counts to zero.
func (p *Proxy) Reset() { p.set(func() { p.stats = Stats{} }) }

// Close ends all connections and waits until nothing of the proxy runs.
func (p *Proxy) Close() {
	p.set(func() { p.closed = true })
	p.Refuse()
	p.Drop()
	p.wg.Wait()
}

func (p *Proxy) set(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	p.changed.Broadcast()
}

// accept serves l until it is closed. p.mu is held.
func (p *Proxy) accept(l net.Listener) {
	p.listener = l
	p.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.wg.Go(func() { p.serve(c) })
		}
	})
}

func (p *Proxy) serve(client net.Conn) {
	defer client.Close()
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	server, err := net.DialTimeout("tcp", target, 5*time.Second)
	if err != nil {
		reset(client)
		return
	}
	defer server.Close()
	r := &road{client: client, server: server}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.conns[r] = true
	p.stats.Conns++
	p.mu.Unlock()

	var wg sync.WaitGroup
	wg.Go(func() { p.carry(r, out, server, client) })
	wg.Go(func() { p.carry(r, in, client, server) })
	wg.Wait()

	p.mu.Lock()
	delete(p.conns, r)
	p.mu.Unlock()
}

// packet is some bytes under way, or with none the end of the stream.
type packet struct {
	data []byte
	sent time.Time
}

// carry moves bytes one way until the stream ends. Reading goes on while
// earlier bytes travel, so that a delay costs time and not throughput.
func (p *Proxy) carry(r *road, way int, to, from net.Conn) {
	queue := make(chan packet, 4096)
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(queue)
		for {
			buf := make([]byte, 16<<10)
			n, err := from.Read(buf)
			if n > 0 {
				queue <- packet{buf[:n], time.Now()}
			}
			if err != nil {
				queue <- packet{nil, time.Now()}
				return
			}
		}
	})
	broken := false
	for pkt := range queue {
		if broken || !p.travel(r, way, pkt) {
			continue // drain, so that the reader ends
		}
		if pkt.data == nil {
			_ = to.(*net.TCPConn).CloseWrite()
		} else if _, err := to.Write(pkt.data); err != nil {
			broken = true
			from.Close()
		}
	}
	wg.Wait()
}

// travel waits until pkt has arrived and counts it. It reports false when the
// proxy is closed.
func (p *Proxy) travel(r *road, way int, pkt packet) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.delay > 0 {
		wait := time.Until(pkt.sent.Add(p.delay))
		p.mu.Unlock()
		time.Sleep(wait)
		p.mu.Lock()
	}
	if way == out && len(r.said) < maxSaid {
		r.said = append(r.said, pkt.data...)
	}
	for p.holds(r, way) && !p.closed {
		p.changed.Wait()
	}
	if p.closed {
		return false
	}
	switch {
	case pkt.data == nil:
	case way == out:
		if !r.lastOut {
			p.stats.Trips++
		}
		r.lastOut = true
		p.stats.BytesOut += int64(len(pkt.data))
	default:
		r.lastOut = false
		p.stats.BytesIn += int64(len(pkt.data))
	}
	return true
}

func (p *Proxy) holds(r *road, way int) bool {
	return p.cut[way] || len(p.cutFrom) > 0 && bytes.Contains(r.said, p.cutFrom)
}

func (r *road) reset() {
	reset(r.client)
	reset(r.server)
}

// reset closes c with RST instead of FIN.
func reset(c net.Conn) {
	_ = c.(*net.TCPConn).SetLinger(0)
	c.Close()
}
