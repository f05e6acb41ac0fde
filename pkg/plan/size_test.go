package plan

import (
	"testing"
	"unsafe"
)

// A runner may know a hundred thousand jobs, and of most of them nothing goes on.
func TestSizeOfAJob(t *testing.T) {
	if n := unsafe.Sizeof(job{}); n > 192 {
		t.Errorf("a job takes %d bytes", n)
	}
}
