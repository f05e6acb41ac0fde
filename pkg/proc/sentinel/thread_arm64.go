package sentinel

// unthread has nothing to do: g is kept in a register.
//
//go:nosplit
//go:norace
//go:nocheckptr
func unthread(a *Arena) {}
