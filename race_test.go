//go:build race

package conch_test

func init() { raceEnabled = true }
