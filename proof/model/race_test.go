//go:build race

package model

func init() { slow = true }
