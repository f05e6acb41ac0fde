package cli

func (t Tool) man() string { return "" }
