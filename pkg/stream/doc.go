// Package stream writes for those who must not wait for a reader, and must
// outlive one.
//
// It does not promise that what is written arrives: a terminal may be stopped, a
// pipe full, a mount dead. What is put into a Stream is written in order by a
// thread of its own, and nobody else waits for that longer than he wants to. Nor
// does a reader that goes away, a file that has reached its limit or a terminal in
// which somebody else is in the foreground send this process a signal: PIPE, XFSZ
// and TTOU stay with the thread that writes, which blocks them.
package stream
