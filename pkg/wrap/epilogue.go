package wrap

import (
	"context"
	"encoding/json"
	"time"

	"conch/pkg/cli"
	"conch/pkg/etcd"
	"conch/pkg/hold"
	"conch/pkg/proc"
)

// remainsVar hands the remains to the helper. Like the password that may be in
// it, it can be read by the user's own processes only.
const remainsVar = "CONCH_REMAINS"

type remains struct {
	Etcd    etcd.Config  `json:"etcd"`
	Remains hold.Remains `json:"remains"`
}

// epilogue prepares the helper that clears up if this process is killed.
func epilogue(c *etcd.Client, t *hold.Turn) (*proc.Epilogue, error) {
	b, err := json.Marshal(remains{c.Config(), t.Remains()})
	if err != nil {
		return nil, err
	}
	return &proc.Epilogue{
		Path: "/proc/self/exe", Args: []string{Release.Name},
		Env:  []string{remainsVar + "=" + string(b)},
		Stay: true,
	}, nil
}

// release clears what CONCH_REMAINS names.
func release(ctx context.Context, stdio *cli.Stdio) error {
	var r remains
	if err := json.Unmarshal([]byte(stdio.Getenv(remainsVar)), &r); err != nil {
		return cli.Usagef("%s is not set: this is started by conch itself", remainsVar)
	}
	// The lease lapses anyway; the helper need not outlive it for long.
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	c, err := etcd.Open(ctx, r.Etcd)
	if err != nil {
		return err
	}
	defer c.Close()
	return r.Remains.Clear(ctx, c)
}
