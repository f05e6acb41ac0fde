// Package options is empty: see dev/lean.
package options
