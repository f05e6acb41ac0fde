package main

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"conch/pkg/etcdtest"
)

// A world is a cluster of three members, and hosts that reach it.
type world interface {
	members() []*etcdtest.Server
	host(i int) host // the i-th; there are as many as are asked for
	// partition cuts a member off from everybody, or heals that. It returns
	// errNoPartition where that cannot be done.
	partition(member int, cut bool) error
	close()
}

// A host is where contenders run.
type host interface {
	start(*exec.Cmd) error
	endpoints() []string
	// hold keeps packets from leaving, or from arriving, or lets them pass.
	hold(out, in bool) error
}

var errNoPartition = errors.New("members cannot be partitioned without namespaces")

func newWorld(c config) (world, error) {
	if c.rootless {
		return newRoads(c.offices * c.contenders)
	}
	return newNet(c.offices * c.contenders)
}

func endpointsOf(members []*etcdtest.Server) []string {
	var all []string
	for _, m := range members {
		all = append(all, m.Endpoint())
	}
	return all
}

// roads is the world without namespaces: everything is on this host, and each
// contender has a road of its own to each member.
type roads struct {
	cluster []*etcdtest.Server
	hosts   []*roadHost
}

type roadHost []*etcdtest.Proxy

func newRoads(hosts int) (world, error) {
	cluster, err := etcdtest.StartCluster(3, etcdtest.Options{})
	if err != nil {
		return nil, err
	}
	w := &roads{cluster: cluster}
	for range hosts {
		h := &roadHost{}
		w.hosts = append(w.hosts, h)
		for _, m := range cluster {
			p, err := etcdtest.NewProxy(m.Addr())
			if err != nil {
				w.close()
				return nil, err
			}
			*h = append(*h, p)
		}
	}
	return w, nil
}

func (w *roads) members() []*etcdtest.Server { return w.cluster }
func (w *roads) host(i int) host             { return w.hosts[i] }
func (w *roads) partition(int, bool) error   { return errNoPartition }

func (w *roads) close() {
	for _, h := range w.hosts {
		for _, p := range *h {
			p.Close()
		}
	}
	for _, m := range w.cluster {
		m.Close()
	}
}

func (h *roadHost) start(cmd *exec.Cmd) error { return cmd.Start() }

func (h *roadHost) endpoints() []string {
	var all []string
	for _, p := range *h {
		all = append(all, "http://"+p.Addr())
	}
	return all
}

func (h *roadHost) hold(out, in bool) error {
	for _, p := range *h {
		p.Hold(out, in)
	}
	return nil
}

// command runs a program of the system and returns what it says when it fails.
func command(args ...string) error {
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
