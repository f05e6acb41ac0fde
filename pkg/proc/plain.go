//go:build !race && !msan && !asan

package proc

const instrumented = false
