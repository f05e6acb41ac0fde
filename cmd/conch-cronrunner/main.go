// Command conch-cronrunner runs the jobs of conch-cron.
package main

import (
	"conch/pkg/cli"
	"conch/pkg/tool"
	"conch/pkg/tool/cronrunner"
)

func main() { cli.Main(cronrunner.Tool, tool.Internal()...) }
