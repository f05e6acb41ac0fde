// Command conch-cron is the crontab of a cluster.
package main

import (
	"conch/pkg/cli"
	"conch/pkg/tool"
	"conch/pkg/tool/cron"
)

func main() { cli.Main(cron.Tool, tool.Internal()...) }
