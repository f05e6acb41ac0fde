// Command conch is all of conch's tools in one file.
package main

import (
	"conch/pkg/cli"
	"conch/pkg/tool"
)

func main() { cli.Dispatch(tool.All(), tool.Internal()...) }
