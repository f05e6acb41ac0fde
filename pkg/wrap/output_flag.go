package wrap

import "conch/pkg/cli"

// OutputValue as the value of --output asks for what holders publish alone.
const OutputValue = "value"

// OutputFlag declares -o.
func OutputFlag(f *cli.Flags, to *string, help string) {
	f.Enum(to, cli.Row{Name: "output", Short: "o", Env: cli.NoEnv, Values: []string{OutputValue}, Help: help})
}
