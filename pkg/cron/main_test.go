package cron

import (
	"testing"

	"conch/pkg/etcdtest"
)

func TestMain(m *testing.M) { etcdtest.M{M: m}.Run() }
