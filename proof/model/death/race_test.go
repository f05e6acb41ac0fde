//go:build race

package death

func init() { slow = true }
