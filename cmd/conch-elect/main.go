// Command conch-elect runs a command on one host of a cluster.
package main

import (
	"conch/pkg/cli"
	"conch/pkg/tool"
	"conch/pkg/tool/elect"
)

func main() { cli.Main(elect.Tool, tool.Internal()...) }
