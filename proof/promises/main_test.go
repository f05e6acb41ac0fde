package main

import (
	"os"
	"path/filepath"
	"testing"
)

// TestMain lets the test binary be the program beat, too.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == beatName {
		main()
	}
	os.Exit(m.Run())
}
