// Command conch-sema runs a command on N hosts of a cluster at a time.
package main

import (
	"conch/pkg/cli"
	"conch/pkg/tool"
	"conch/pkg/tool/sema"
)

func main() { cli.Main(sema.Tool, tool.Internal()...) }
