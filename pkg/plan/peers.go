package plan

import (
	"fmt"
	"time"

	"conch/pkg/cron"
)

// standSkew is how far two clocks may be apart for both to be believed.
const standSkew = 5 * time.Second

// meet compares another runner with this one.
func (p *Planner) meet(n *cron.Node) {
	me := p.cfg.Node
	if n.ID == me.ID || p.met[n.ID] {
		return
	}
	if skew := p.now.Wall.Sub(n.Clock); p.whole && skew.Abs() > standSkew { // it has just been written
		where := "ahead"
		if skew < 0 {
			where = "behind"
		}
		p.say(Event{Event: "clock-skew", Level: Warning, Reason: fmt.Sprintf("the wall clock is %s of that of %s by %v", where, n.Host, skew.Abs().Round(time.Second))})
	}
	p.met[n.ID] = true
	if n.TZData != me.TZData {
		p.say(Event{Event: "tzdata", Level: Warning, Reason: fmt.Sprintf("%s has time zones of %s, this runner of %s: they may disagree on when a job is due", n.Host, n.TZData, me.TZData)})
	}
	if n.Policy != me.Policy {
		p.say(Event{Event: "placement", Level: Warning, Reason: fmt.Sprintf("%s has --placement %s, this runner %s: they disagree on whose turn it is", n.Host, n.Policy, me.Policy)})
	}
}
