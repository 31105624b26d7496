package discovery

import (
	"context"
	"net/netip"
	"sync"
	"time"
)

// pacer lets through so many packets a second in all, without bursts.
type pacer struct {
	mu    sync.Mutex
	every time.Duration
	next  time.Time
}

func newPacer(perSecond int) *pacer { return &pacer{every: time.Second / time.Duration(perSecond)} }

// wait returns when the next packet may leave. It is false when ctx ended.
func (p *pacer) wait(ctx context.Context) bool {
	p.mu.Lock()
	now := time.Now()
	if p.next.Before(now.Add(-10 * time.Millisecond)) { // what was not used is not made up for
		p.next = now
	}
	at := p.next
	p.next = p.next.Add(p.every)
	p.mu.Unlock()
	return sleep(ctx, time.Until(at))
}

// hostGate allows so many sockets to one host at once.
type hostGate struct {
	mu   sync.Mutex
	cond *sync.Cond
	max  int
	open map[netip.Addr]int
}

func newHostGate(max int) *hostGate {
	g := &hostGate{max: max, open: map[netip.Addr]int{}}
	g.cond = sync.NewCond(&g.mu)
	return g
}

// acquire waits for a place. It is false when ctx ended.
func (g *hostGate) acquire(ctx context.Context, host netip.Addr) bool {
	stop := context.AfterFunc(ctx, func() {
		g.mu.Lock()
		g.cond.Broadcast()
		g.mu.Unlock()
	})
	defer stop()
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.open[host] >= g.max {
		if ctx.Err() != nil {
			return false
		}
		g.cond.Wait()
	}
	g.open[host]++
	return true
}

func (g *hostGate) release(host netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open[host]--; g.open[host] <= 0 {
		delete(g.open, host)
	}
	g.cond.Broadcast()
}
