package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"conch/pkg/cli"
	"conch/pkg/etcdtest"
)

const insideName = "promises-inside"

// insideTool is this program in namespaces of its own: of pids, so that nothing
// outlives it; of mounts, so that its network namespaces have names nobody else
// sees; of networks, so that its bridge is its own.
var insideTool = cli.Tool{
	Name:  insideName,
	Brief: "promises, in namespaces of its own; it starts this itself",
	Setup: func(f *cli.Flags) cli.Run {
		run := setup(true)(f)
		return func(ctx context.Context, stdio *cli.Stdio, args cli.Args) error {
			if err := prepareInside(); err != nil {
				return err
			}
			return run(ctx, stdio, args)
		}
	},
}

// goInside runs this program again, inside.
func goInside() error {
	for _, program := range []string{"ip", "nft"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%w (install iproute2 and nftables, or use --rootless)", err)
		}
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = insideName
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { // until this process ends
		for s := range signals {
			_ = cmd.Process.Signal(s)
		}
	}()
	err := cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 {
		return cli.Ended{Code: exit.ExitCode()} // it has said why
	}
	return err
}

// prepareInside makes the new namespaces usable.
func prepareInside() error {
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"private mounts", func() error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") }},
		{"/proc", func() error { return unix.Mount("proc", "/proc", "proc", 0, "") }},
		{"/run", func() error { return unix.Mount("promises", "/run", "tmpfs", 0, "mode=755") }},
		{"loopback", func() error { return command("ip", "link", "set", "lo", "up") }},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	return nil
}

// network is the world of namespaces: a host for each member and for each
// contender, on one bridge. The filter is the bridge's, so that this program,
// which has an address on it too, reaches hosts that are cut off.
type network struct {
	cluster []*etcdtest.Server
	hosts   []*netHost
}

type netHost struct {
	etcdtest.Host
	port string // of the bridge
	to   []string
}

const rules = `
table bridge faults {
	set out { type ifname; }
	set in { type ifname; }
	chain forward {
		type filter hook forward priority 0; policy accept;
		iifname @out drop
		oifname @in drop
	}
}
`

const members = 3

func newNet(hosts int) (world, error) {
	w := &network{}
	if err := w.build(hosts + members); err != nil {
		w.close()
		return nil, err
	}
	var where []etcdtest.Host
	for _, h := range w.hosts[:members] {
		where = append(where, h.Host)
	}
	cluster, err := etcdtest.StartCluster(members, etcdtest.Options{Hosts: where})
	if err != nil {
		w.close()
		return nil, err
	}
	w.cluster = cluster
	for _, h := range w.hosts {
		h.to = endpointsOf(cluster)
	}
	return w, nil
}

func (w *network) build(hosts int) error {
	for _, args := range [][]string{
		{"ip", "link", "add", "br0", "type", "bridge"},
		{"ip", "addr", "add", "10.0.0.1/16", "dev", "br0"},
		{"ip", "link", "set", "br0", "up"},
	} {
		if err := command(args...); err != nil {
			return err
		}
	}
	for i := range hosts {
		if err := w.addHost(i); err != nil {
			return err
		}
	}
	// After the bridge: rules that were there before it see nothing of it.
	load := exec.Command("nft", "-f", "-")
	load.Stdin = strings.NewReader(rules)
	if out, err := load.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, out)
	}
	return nil
}

func (w *network) addHost(i int) error {
	name := "h" + strconv.Itoa(i)
	ip := fmt.Sprintf("10.0.1.%d", i+1)
	port := "v" + strconv.Itoa(i)
	for _, args := range [][]string{
		{"ip", "netns", "add", name},
		{"ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name},
		{"ip", "link", "set", port, "master", "br0", "up"},
		{"ip", "-n", name, "addr", "add", ip + "/16", "dev", "eth0"},
		{"ip", "-n", name, "link", "set", "eth0", "up"},
		{"ip", "-n", name, "link", "set", "lo", "up"},
	} {
		if err := command(args...); err != nil {
			return err
		}
	}
	w.hosts = append(w.hosts, &netHost{Host: etcdtest.Host{Namespace: filepath.Join("/run/netns", name), IP: ip}, port: port})
	return nil
}

func (w *network) members() []*etcdtest.Server { return w.cluster }
func (w *network) host(i int) host             { return w.hosts[members+i] }

func (w *network) partition(member int, cut bool) error { return w.hosts[member].hold(cut, cut) }

func (w *network) close() {
	for _, m := range w.cluster {
		m.Close()
	}
	for i, h := range w.hosts {
		_ = command("ip", "link", "del", h.port) // with its other end; the namespace would take its time to do it
		_ = command("ip", "netns", "del", "h"+strconv.Itoa(i))
	}
	_ = command("ip", "link", "del", "br0")
	_ = command("nft", "delete", "table", "bridge", "faults")
}

func (h *netHost) start(cmd *exec.Cmd) error { return h.Host.Start(cmd) }
func (h *netHost) endpoints() []string       { return h.to }

// hold sets both directions in one step.
func (h *netHost) hold(out, in bool) error {
	set := func(name string, drop bool) string {
		element := fmt.Sprintf("element bridge faults %s { %s }\n", name, h.port)
		script := "add " + element // so that the deletion finds it
		if !drop {
			script += "delete " + element
		}
		return script
	}
	return command("nft", set("out", out)+set("in", in))
}
