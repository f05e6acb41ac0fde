package wrap

import "conch/pkg/cli"

// OutputValue as the value of --output asks for what holders publish alone.
const OutputValue = "value"

// OutputFlags declares -o, and --json.
func OutputFlags(f *cli.Flags, to *string, help string, json *bool, jsonHelp string) {
	f.Forms(json, jsonHelp, to, help, OutputValue)
}
