package cli_test

import (
	"os"
	"testing"

	"conch/pkg/cli"
	"golang.org/x/sys/unix"
)

func TestTerminal(t *testing.T) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if !cli.Terminal(master) {
		t.Error("a terminal is not taken for one")
	}
	if cli.Terminal(null) || cli.Terminal((*os.File)(nil)) || cli.Terminal(nil) {
		t.Error("something else is taken for a terminal")
	}
}
