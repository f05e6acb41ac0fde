package schedule

import (
	"hash/fnv"
	"io"
	"math/bits"
)

// spread returns a number from 0 to n-1 that depends on the job's name and the
// field only. It may never change: jobs would move.
func spread(job string, field, n int) int {
	h := fnv.New64a()
	io.WriteString(h, job)
	h.Write([]byte{0, byte(field)})
	hi, _ := bits.Mul64(mix(h.Sum64()), uint64(n))
	return int(hi)
}

// Hash returns a hash of text of which all bits depend on all of it. It may never
// change: what is spread by it would move.
func Hash(text string) uint64 {
	h := fnv.New64a()
	io.WriteString(h, text)
	return mix(h.Sum64())
}

// mix is the finaliser of MurmurHash3. FNV alone leaves names that differ in
// the last characters, job-1 and job-2, close together in the high bits, which
// are those that count above.
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
