// Package tool lists conch's tools.
package tool

import (
	"conch/pkg/cli"
	"conch/pkg/tool/cron"
	"conch/pkg/tool/cronrunner"
	"conch/pkg/tool/elect"
	"conch/pkg/tool/sema"
	"conch/pkg/tool/status"
	"conch/pkg/wrap"
)

// All are the tools, in the order in which help lists them.
func All() []cli.Tool {
	return []cli.Tool{elect.Tool, sema.Tool, cron.Tool, cronrunner.Tool, status.Tool}
}

// Internal are the entries that conch starts itself.
func Internal() []cli.Tool { return append(cronrunner.Internal(), wrap.Release) }
