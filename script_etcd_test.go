package conch_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/etcdtest"
)

func (s *script) etcd(args []string) error {
	if len(args) == 0 {
		return errors.New("usage: etcd get|put|del|count|rev|leases|revoke|revoke-of|compact|alarm|allow|empty|passwd ...")
	}
	c, err := s.client(s.srv)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	s.ts.Stdout() // forget what was printed before, even if we print nothing
	e := etcdCommand{script: s, ctx: ctx, c: c}
	verb, args := args[0], args[1:]
	if len(args) > 0 && args[0] == "-prefix" {
		e.opts, args = append(e.opts, clientv3.WithPrefix()), args[1:]
	}
	switch fmt.Sprintf("%s/%d", verb, len(args)) {
	case "get/1":
		return e.get(s.key(args[0]))
	case "put/2":
		_, err = c.Put(ctx, s.key(args[0]), args[1])
	case "del/1":
		_, err = c.Delete(ctx, s.key(args[0]), e.opts...)
	case "count/1":
		n, err := e.count(s.key(args[0]))
		return errors.Join(err, s.print(n))
	case "count/2":
		n, err := e.count(s.key(args[0]))
		if err == nil && strconv.FormatInt(n, 10) != args[1] {
			err = fmt.Errorf("%d keys, not %s", n, args[1])
		}
		return err
	case "rev/0":
		rev, err := s.revision()
		return errors.Join(err, s.print(rev))
	case "leases/0":
		return e.leases()
	case "lease/2":
		return e.lease(args[0], s.key(args[1]))
	case "revoke/1":
		return e.revoke(args[0])
	case "revoke-of/1":
		return e.revokeOf(s.key(args[0]))
	case "compact/0":
		return e.compact()
	case "empty/0":
		return e.empty()
	case "alarm/1":
		return e.alarm(args[0])
	case "allow/1":
		return e.allow(args[0])
	case "passwd/1":
		_, err = c.UserChangePassword(ctx, etcdtest.AppUser, args[0])
	default:
		return fmt.Errorf("no etcd %s with %d arguments", verb, len(args))
	}
	return err
}

type etcdCommand struct {
	*script
	ctx  context.Context
	c    *clientv3.Client
	opts []clientv3.OpOption
}

// key makes an absolute key.
func (s *script) key(k string) string {
	if strings.HasPrefix(k, "/") {
		return k
	}
	return s.prefix + "/" + k
}

func (s *script) print(a ...any) error {
	_, err := fmt.Fprintln(s.ts.Stdout(), a...)
	return err
}

func (e etcdCommand) get(key string) error {
	r, err := e.c.Get(e.ctx, key, e.opts...)
	if err != nil {
		return err
	}
	for _, kv := range r.Kvs {
		if err := e.print(string(kv.Key), string(kv.Value)); err != nil {
			return err
		}
	}
	if len(r.Kvs) == 0 {
		return fmt.Errorf("no key %s", key)
	}
	return nil
}

func (e etcdCommand) count(prefix string) (int64, error) {
	r, err := e.c.Get(e.ctx, prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		return 0, err
	}
	return r.Count, nil
}

func (e etcdCommand) leases() error {
	r, err := e.c.Leases(e.ctx)
	if err != nil {
		return err
	}
	for _, l := range r.Leases {
		if err := e.print(strconv.FormatInt(int64(l.ID), 16)); err != nil {
			return err
		}
	}
	return nil
}

// lease puts a key under a new lease of a minute.
func (e etcdCommand) lease(hex, key string) error {
	id, err := strconv.ParseInt(hex, 16, 64)
	if err != nil {
		return err
	}
	// The client cannot choose the id of a lease, but the API can.
	kv := etcdserverpb.NewLeaseClient(e.c.ActiveConnection())
	if _, err := kv.LeaseGrant(e.ctx, &etcdserverpb.LeaseGrantRequest{ID: id, TTL: 60}); err != nil {
		return err
	}
	_, err = e.c.Put(e.ctx, key, "", clientv3.WithLease(clientv3.LeaseID(id)))
	return err
}

func (e etcdCommand) revoke(hex string) error {
	if file, ok := strings.CutPrefix(hex, "@"); ok {
		hex = strings.TrimSpace(e.ts.ReadFile(file))
	}
	id, err := strconv.ParseInt(hex, 16, 64)
	if err != nil {
		return err
	}
	_, err = e.c.Revoke(e.ctx, clientv3.LeaseID(id))
	return err
}

// revokeOf revokes the lease of the key, or of the first one below it.
func (e etcdCommand) revokeOf(key string) error {
	r, err := e.c.Get(e.ctx, key, clientv3.WithPrefix(), clientv3.WithLimit(1))
	if err != nil {
		return err
	}
	if len(r.Kvs) == 0 || r.Kvs[0].Lease == 0 {
		return fmt.Errorf("no key %s with a lease", key)
	}
	_, err = e.c.Revoke(e.ctx, clientv3.LeaseID(r.Kvs[0].Lease))
	return err
}

func (e etcdCommand) compact() error {
	if e.own == nil {
		return errors.New("the server is shared: start one first")
	}
	rev, err := e.revision()
	if err != nil {
		return err
	}
	_, err = e.c.Compact(e.ctx, rev, clientv3.WithCompactPhysical())
	return err
}

// alarm raises or clears the alarm of a database that has reached its quota.
func (e etcdCommand) alarm(is string) error {
	if e.own == nil {
		return errors.New("the server is shared: start one first")
	}
	to, ok := map[string]etcdserverpb.AlarmRequest_AlarmAction{"on": etcdserverpb.AlarmRequest_ACTIVATE, "off": etcdserverpb.AlarmRequest_DEACTIVATE}[is]
	if !ok {
		return fmt.Errorf("no alarm %s", is)
	}
	at, err := e.c.Status(e.ctx, e.srv.Endpoint())
	if err != nil {
		return err
	}
	_, err = etcdserverpb.NewMaintenanceClient(e.c.ActiveConnection()).Alarm(e.ctx,
		&etcdserverpb.AlarmRequest{Action: to, Alarm: etcdserverpb.AlarmType_NOSPACE, MemberID: at.Header.MemberId})
	return err
}

// allow says what the user app may do below the prefix.
func (e etcdCommand) allow(what string) error {
	may, ok := map[string]clientv3.PermissionType{"read": clientv3.PermissionType(clientv3.PermRead), "readwrite": clientv3.PermissionType(clientv3.PermReadWrite)}[what]
	if !ok || !e.auth {
		return fmt.Errorf("no permission %s, or a server without", what)
	}
	below := e.prefix + "/"
	_, err := e.c.RoleGrantPermission(e.ctx, etcdtest.AppUser, below, clientv3.GetPrefixRangeEnd(below), may)
	return err
}

// empty checks that the script has left nothing behind.
func (e etcdCommand) empty() error {
	r, err := e.c.Get(e.ctx, e.prefix+"/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return err
	}
	for _, kv := range r.Kvs {
		err = errors.Join(err, fmt.Errorf("key %s is left", kv.Key))
	}
	leases, lerr := e.c.Leases(e.ctx)
	if lerr != nil {
		return lerr
	}
	ours := func(clientv3.LeaseID) bool { return true }
	if e.own == nil {
		had, herr := e.history()
		if herr != nil {
			return herr
		}
		ours = func(id clientv3.LeaseID) bool { return slices.Contains(had, id) }
	}
	for _, l := range leases.Leases {
		if ours(l.ID) {
			err = errors.Join(err, fmt.Errorf("lease %x is left", int64(l.ID)))
		}
	}
	return err
}

// history returns the leases that keys of the script have had. Its end is marked
// by a key put for that: in old releases a notification of progress may overtake
// the events before it (etcd-io/etcd#15220).
func (e etcdCommand) history() (had []clientv3.LeaseID, _ error) {
	end, err := e.c.Put(e.ctx, e.prefix+"/end-of-history", "")
	if err != nil {
		return nil, err
	}
	if _, err := e.c.Delete(e.ctx, e.prefix+"/end-of-history"); err != nil {
		return nil, err
	}
	for r := range e.c.Watch(e.ctx, e.prefix+"/", clientv3.WithPrefix(), clientv3.WithRev(e.since+1)) {
		if r.Err() != nil {
			return nil, r.Err()
		}
		for _, ev := range r.Events {
			if ev.Kv.ModRevision == end.Header.Revision {
				return had, nil
			}
			had = append(had, clientv3.LeaseID(ev.Kv.Lease))
		}
	}
	return nil, errors.Join(e.ctx.Err(), errors.New("the watch ended"))
}

func (s *script) server(args []string) error {
	if len(args) == 0 {
		return errors.New("usage: server start [3] [tls] [auth] [jwt] | other | proxy | start|stop|kill|pause|resume|leader [N]")
	}
	switch args[0] {
	case "other":
		return s.startOther()
	case "proxy":
		return s.startProxy()
	}
	if s.own == nil {
		if args[0] != "start" {
			return errors.New("the server is shared: start one first")
		}
		return s.startServers(args[1:])
	}
	members := s.own
	if len(args) > 1 {
		n, err := strconv.Atoi(args[1])
		if err != nil || n < 1 || n > len(members) {
			return fmt.Errorf("no member %s", args[1])
		}
		members = members[n-1 : n]
	}
	switch args[0] {
	case "start":
		return restart(members)
	case "stop":
		each(members, (*etcdtest.Server).Stop)
	case "kill":
		each(members, (*etcdtest.Server).Kill)
	case "pause":
		return eachErr(members, (*etcdtest.Server).Pause)
	case "resume":
		return eachErr(members, (*etcdtest.Server).Resume)
	case "leader":
		if len(args) > 1 {
			return s.lead(members[0])
		}
		return s.leader()
	default:
		return fmt.Errorf("no server %s", args[0])
	}
	return nil
}

func each[T any](all []T, f func(T)) {
	for _, x := range all {
		f(x)
	}
}

func eachErr[T any](all []T, f func(T) error) error {
	var err error
	for _, x := range all {
		err = errors.Join(err, f(x))
	}
	return err
}

// restart runs stopped members again: all of them first, as one alone might
// not be enough to answer.
func restart(members []*etcdtest.Server) error {
	if err := eachErr(members, (*etcdtest.Server).Rerun); err != nil {
		return err
	}
	return eachErr(members, (*etcdtest.Server).Ready)
}

// startServers gives the script a cluster of its own and points everything at
// it.
func (s *script) startServers(args []string) error {
	n, opts := 1, etcdtest.Options{}
	for _, arg := range args {
		switch arg {
		case "tls":
			certs, err := etcdtest.NewTLS(filepath.Join(s.work, "tls"))
			if err != nil {
				return err
			}
			opts.TLS = certs
			s.ts.Setenv("ETCDCTL_CACERT", certs.CA)
			s.ts.Setenv("ETCDCTL_CERT", certs.ClientCert)
			s.ts.Setenv("ETCDCTL_KEY", certs.ClientKey)
		case "jwt":
			opts.JWT, opts.TokenTTL = true, 4*time.Second
		case "auth":
		default:
			var err error
			if n, err = strconv.Atoi(arg); err != nil {
				return fmt.Errorf("no option %s", arg)
			}
		}
	}
	own, err := etcdtest.StartCluster(n, opts)
	if err != nil {
		return err
	}
	s.own, s.srv = own, own[0]
	if slices.Contains(args, "auth") {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		if err := s.srv.EnableAuth(ctx, s.prefix); err != nil {
			return err
		}
		s.auth = true
		s.ts.Setenv("ETCDCTL_USER", etcdtest.AppUser)
		s.ts.Setenv("ETCDCTL_PASSWORD", etcdtest.AppUser)
	}
	s.closeRoads()
	for _, m := range own {
		road, err := etcdtest.NewProxy(m.Addr())
		if err != nil {
			return err
		}
		s.roads = append(s.roads, road)
	}
	for _, kv := range s.endpoints() {
		s.ts.Setenv(kv[0], kv[1])
	}
	return nil
}

// startOther starts a server of another cluster, and a road to it, after the others.
func (s *script) startOther() error {
	var err error
	if s.other, err = etcdtest.Start(etcdtest.Options{}); err != nil {
		return err
	}
	road, err := etcdtest.NewProxy(s.other.Addr())
	if err != nil {
		return err
	}
	s.roads = append(s.roads, road)
	s.ts.Setenv("OTHER", "http://"+road.Addr())
	return nil
}

// startProxy starts a grpc-proxy in front of the server.
func (s *script) startProxy() error {
	endpoint, stop, err := s.srv.GRPCProxy(filepath.Join(s.work, "grpc-proxy"))
	if err != nil {
		return err
	}
	s.stopProxy = stop
	s.ts.Setenv("PROXY", endpoint)
	return nil
}

// leader prints which member leads: 1, 2, ...
func (s *script) leader() error {
	for i, m := range s.own {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		c, err := s.client(m)
		if err != nil {
			return err
		}
		defer c.Close()
		if st, err := c.Status(ctx, m.Endpoint()); err == nil && st.Leader == st.Header.MemberId {
			return s.print(i + 1)
		}
	}
	return errors.New("no member leads")
}

// lead makes a member the leader.
func (s *script) lead(member *etcdtest.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	id := uint64(0)
	for _, m := range append([]*etcdtest.Server{member}, s.own...) {
		c, err := s.client(m)
		if err != nil {
			return err
		}
		defer c.Close()
		st, err := c.Status(ctx, m.Endpoint())
		switch {
		case err != nil:
			return err
		case m == member && st.Leader == st.Header.MemberId:
			return nil
		case m == member:
			id = st.Header.MemberId
		case st.Leader == st.Header.MemberId:
			_, err := c.MoveLeader(ctx, id)
			return err
		}
	}
	return errors.New("no member leads")
}

func (s *script) closeServers() {
	each(s.own, (*etcdtest.Server).Close)
	if s.other != nil {
		s.other.Close()
	}
	if s.stopProxy != nil {
		s.stopProxy()
	}
}

func (s *script) closeRoads() {
	each(s.roads, (*etcdtest.Proxy).Close)
	s.roads = nil
}

func (s *script) road(args []string) error {
	roads := s.roads
	if len(args) > 0 {
		if n, err := strconv.Atoi(args[0]); err == nil {
			if n < 1 || n > len(roads) {
				return fmt.Errorf("no road %d", n)
			}
			roads, args = roads[n-1:n], args[1:]
		}
	}
	if len(args) == 0 || (args[0] == "delay") != (len(args) == 2) {
		return errors.New("usage: road [N] cut|cut-in|cut-out|heal|refuse|drop|other|delay D|stats|reset")
	}
	switch args[0] {
	case "other":
		if s.other == nil {
			return errors.New("there is no other: start it with server other")
		}
		each(roads, func(p *etcdtest.Proxy) { p.Lead(s.other.Addr()) })
	case "cut":
		each(roads, (*etcdtest.Proxy).Cut)
	case "cut-in":
		each(roads, (*etcdtest.Proxy).CutIn)
	case "cut-out":
		each(roads, (*etcdtest.Proxy).CutOut)
	case "refuse":
		each(roads, (*etcdtest.Proxy).Refuse)
	case "drop":
		each(roads, (*etcdtest.Proxy).Drop)
	case "reset":
		each(roads, (*etcdtest.Proxy).Reset)
	case "heal":
		return eachErr(roads, (*etcdtest.Proxy).Heal)
	case "delay":
		d, err := time.ParseDuration(args[1])
		each(roads, func(p *etcdtest.Proxy) { p.Delay(d) })
		return err
	case "stats":
		return eachErr(roads, func(p *etcdtest.Proxy) error {
			st := p.Stats()
			return s.print("conns", st.Conns, "trips", st.Trips, "out", st.BytesOut, "in", st.BytesIn)
		})
	default:
		return fmt.Errorf("no road %s", args[0])
	}
	return nil
}
