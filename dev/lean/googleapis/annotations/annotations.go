// Package annotations is empty: see dev/lean.
package annotations
