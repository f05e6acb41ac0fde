// Cronsim puts runners' planners through thousands of hours of trouble, on one
// goroutine and without waiting: N of pkg/plan's over a model of etcd and of hosts, and
// a hand that edits. All that happens follows from a seed.
//
// It is no proof: what its hosts cannot do, it does not find. proof/promises strikes
// the real thing.
package main

func main() {}
