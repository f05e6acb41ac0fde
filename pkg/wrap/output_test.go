package wrap

import (
	"context"
	"errors"
	"testing"
	"time"

	"conch/pkg/etcd"
	"conch/pkg/fence"
)

// dead is a Sink on a mount that does not answer.
type dead struct{ writing chan struct{} }

func (d dead) Write([]byte) (int, error) {
	close(d.writing)
	select {}
}

func (dead) Keep(context.Context, *etcd.Client, fence.Token) error { panic("kept") }

func (dead) Close() { panic("closed while it is in use") }

// A Sink that does not answer is not waited for.
func TestOutputStuck(t *testing.T) {
	writing := make(chan struct{})
	for name, open := range map[string]func() (Sink, error){
		"open":  func() (Sink, error) { select {} },
		"write": func() (Sink, error) { return dead{writing}, nil },
	} {
		t.Run(name, func(t *testing.T) {
			o, err := newOutput(open)
			if err != nil {
				t.Fatal(err)
			}
			o.answers = 10 * time.Millisecond
			over := make(chan error, 1)
			go func() {
				defer o.close()
				if err := o.start(); err != nil {
					over <- err
					return
				}
				o.w.WriteString("text")
				o.started()
				<-writing
				over <- o.end(t.Context(), 0)
			}()
			select {
			case err := <-over:
				if !errors.Is(err, errStuck) {
					t.Errorf("%v", err)
				}
			case <-time.After(time.Minute):
				t.Fatal("it is waited for")
			}
		})
	}
}

// Who asks conch to end does not wait for a Sink that does not answer, and has been
// told of it; one that answers in time has what it says returned.
func TestKeepIsInterrupted(t *testing.T) {
	o := &output{sink: dead{}, answers: 10 * time.Millisecond}
	ctx, stop := context.WithCancel(t.Context())
	said := 0
	err := o.keep(ctx, func(context.Context, Sink) error { select {} }, func() { said++; stop() })
	if !errors.Is(err, errStuck) || said != 1 || o.sink != nil {
		t.Errorf("%v, said %d times, in use %v", err, said, o.sink)
	}
	o = &output{sink: dead{}, answers: time.Minute}
	ctx, stop = context.WithCancel(t.Context())
	stop()
	if err := o.keep(ctx, func(ctx context.Context, _ Sink) error { <-ctx.Done(); return ctx.Err() }, func() { t.Error("slow") }); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
