package filesystem

import (
	"sync"

	"assay/firmware/budget"
)

// blockCache keeps the last unpacked blocks by their place. A block that several
// readers want at once is unpacked once. What the meter has no memory for is not
// kept.
type blockCache struct {
	capacity int
	meter    *budget.Meter
	mu       sync.Mutex
	blocks   map[int64]*cached
	order    []int64 // a ring; the oldest is at oldest
	oldest   int
}

// block is an unpacked block; next is where the following one starts.
type block struct {
	data []byte
	next int64
}

// cached is a block, or one that is being unpacked until ready is closed.
type cached struct {
	ready chan struct{}
	block *block
	err   error
	kept  bool
}

// get returns a block that is kept, or nil.
func (c *blockCache) get(at int64) *block {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.blocks[at]; e != nil && e.kept {
		return e.block
	}
	return nil
}

// load returns the block at a place, made by make if it is not kept. meanwhile is
// called where another reader is making it, and may be nil.
func (c *blockCache) load(at int64, make func() (*block, error), meanwhile func()) (*block, error) {
	c.mu.Lock()
	e := c.blocks[at]
	if e == nil {
		e = c.begin(at)
		c.mu.Unlock()
		c.make(at, e, make)
		return e.block, e.err
	}
	busy := !e.kept
	c.mu.Unlock()
	if busy && meanwhile != nil {
		meanwhile()
	}
	<-e.ready
	return e.block, e.err
}

// ahead makes a block that nobody has asked for yet.
func (c *blockCache) ahead(at int64, make func() (*block, error)) {
	c.mu.Lock()
	if c.blocks[at] != nil {
		c.mu.Unlock()
		return
	}
	e := c.begin(at)
	c.mu.Unlock()
	c.make(at, e, make)
}

func (c *blockCache) make(at int64, e *cached, make func() (*block, error)) {
	e.block, e.err = make()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end(at, e)
}

func (c *blockCache) begin(at int64) *cached {
	if c.blocks == nil {
		c.blocks = make(map[int64]*cached)
	}
	e := &cached{ready: make(chan struct{})}
	c.blocks[at] = e
	return e
}

// end lets others have the block and keeps it in the place of the oldest.
func (c *blockCache) end(at int64, e *cached) {
	close(e.ready)
	if c.blocks[at] != e { // dropped in between
		return
	}
	if e.err != nil || c.meter.Hold(int64(cap(e.block.data))) != nil {
		delete(c.blocks, at)
		return
	}
	e.kept = true
	if len(c.order) < c.capacity {
		c.order = append(c.order, at)
		return
	}
	old := c.order[c.oldest]
	c.meter.Release(int64(cap(c.blocks[old].block.data)))
	delete(c.blocks, old)
	c.order[c.oldest] = at
	c.oldest = (c.oldest + 1) % c.capacity
}

// drop gives the memory back.
func (c *blockCache) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.blocks {
		if e.kept {
			c.meter.Release(int64(cap(e.block.data)))
		}
	}
	c.blocks, c.order, c.oldest = nil, nil, 0
}
