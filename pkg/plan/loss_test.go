package plan

import (
	"encoding/json"
	"testing"
	"time"

	"conch/pkg/cron"
	"conch/pkg/keys"
)

// A run whose end its sentinel has written is told of by one runner: the first that is
// there, and another if that one goes before it has.
func TestLossIsTold(t *testing.T) {
	a := newAlone(t, noon)
	id := keys.RunID{Job: "j", Tick: noon.Add(-time.Minute)}
	e := keys.Entry{Kind: "lost", Name: "j", Run: id}
	loss := func(teller string) cron.Loss {
		return cron.Loss{Run: &cron.Run{State: cron.Lost, Claim: "c", Attempt: 1}, Teller: teller}
	}
	told := func() (all []Tell) {
		for _, v := range a.other {
			if v, ok := v.(Tell); ok {
				all = append(all, v)
			}
		}
		a.other = nil
		return all
	}

	b, err := json.Marshal(cron.Job{Schedule: "@manual", Cmd: []string{"true"}, OnFailure: "tell"})
	if err != nil {
		t.Fatal(err)
	}
	a.put(keys.Entry{Kind: "job", Name: "j"}, string(b))
	a.put(e, loss(""))
	if all := told(); len(all) != 1 || all[0].Loss.Run.RunID != id || all[0].Loss.Rev != a.rev || all[0].Spec == nil || all[0].Spec.OnFailure != "tell" {
		t.Fatalf("%+v", all)
	}
	a.pass(again / 2)
	if all := told(); len(all) != 0 {
		t.Errorf("told of again while that is under way: %+v", all)
	}
	a.pass(again)
	if all := told(); len(all) != 1 {
		t.Errorf("not told of again when nothing has come of it: %+v", all)
	}

	// Another takes it, and then goes.
	a.node(cron.Node{ID: "o-1", Host: "o", Slots: 1})
	a.put(e, loss("o-1"))
	a.pass(time.Minute)
	if all := told(); len(all) != 0 {
		t.Errorf("another's is told of: %+v", all)
	}
	a.gone(keys.Entry{Kind: "node", Name: "o-1"})
	a.pass(time.Second)
	if all := told(); len(all) != 1 || all[0].Loss.Teller != "o-1" {
		t.Errorf("nobody tells of what the other had not: %+v", all)
	}
	a.gone(e)
	a.pass(time.Minute)
	if all := told(); len(all) != 0 {
		t.Errorf("told of again: %+v", all)
	}

	// Its job is gone: there is no command to be told, and the rest is.
	a.gone(keys.Entry{Kind: "job", Name: "j"})
	a.put(e, loss(""))
	if all := told(); len(all) != 1 || all[0].Spec != nil {
		t.Errorf("%+v", all)
	}
	a.gone(e)
	if a.jobs["j"] != nil {
		t.Error("what is over is remembered")
	}
}
