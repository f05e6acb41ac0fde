//go:build race || msan || asan

package proc

// instrumented says that a sanitizer's memory lies among ours.
const instrumented = true
