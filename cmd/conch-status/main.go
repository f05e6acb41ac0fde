// Command conch-status shows offices, semaphores, jobs and runners.
package main

import (
	"conch/pkg/cli"
	"conch/pkg/tool"
	"conch/pkg/tool/status"
)

func main() { cli.Main(status.Tool, tool.Internal()...) }
