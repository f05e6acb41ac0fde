package tool

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/cli"
	"conch/pkg/etcdtest"
	"conch/pkg/keys"
	crontool "conch/pkg/tool/cron"
)

// A change that has been made is said, and is no failure, though nobody can tell whether a
// runner is there for it: here by a user who may not read that.
func TestAdviceFailsNoChange(t *testing.T) {
	srv, err := etcdtest.Start(etcdtest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	const space = keys.Space("/test/advice")
	if err := srv.EnableAuth(t.Context(), string(space)); err != nil {
		t.Fatal(err)
	}
	root, err := srv.Client(etcdtest.RootUser, etcdtest.RootUser)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	all, nodes, rw := string(space)+"/", space.Cron().Nodes(), clientv3.PermissionType(clientv3.PermReadWrite)
	_, err = root.RoleRevokePermission(t.Context(), etcdtest.AppUser, all, clientv3.GetPrefixRangeEnd(all))
	for _, part := range [][2]string{{all, nodes}, {clientv3.GetPrefixRangeEnd(nodes), clientv3.GetPrefixRangeEnd(all)}} {
		if err == nil {
			_, err = root.RoleGrantPermission(t.Context(), etcdtest.AppUser, part[0], part[1], rw)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "jobs.yaml")
	if err := os.WriteFile(file, []byte("{name: b, schedule: '@daily', cmd: ['true']}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const unknown = "conch-cron: whether a runner is there is not known: "
	for _, c := range []struct {
		args     []string
		out, err string
	}{
		{[]string{"add", "a", "@daily", "-v", "--", "true"}, "", "conch-cron: a: at 00:00 every day, UTC; next at "},
		{[]string{"apply", "-f", file}, "+ b\n", unknown},
	} {
		var out, errs strings.Builder
		got := crontool.Tool.Exec(t.Context(), &cli.Stdio{Out: &out, Err: &errs,
			Env: []string{"CONCH_ENDPOINTS=" + srv.Endpoint(), "CONCH_PREFIX=" + string(space), "ETCDCTL_USER=" + etcdtest.AppUser, "ETCDCTL_PASSWORD=" + etcdtest.AppUser}}, c.args...)
		if got != 0 || !strings.HasPrefix(out.String(), c.out) || !strings.HasPrefix(errs.String(), c.err) || !strings.Contains(errs.String(), unknown) {
			t.Errorf("%q ends with status %d, and says %q %q", c.args, got, out.String(), errs.String())
		}
	}
}
