package filesystem

import (
	"errors"
	"testing"

	"assay/firmware/budget"
)

func TestWhoWaitsForABlockMakesAnother(t *testing.T) {
	c := blockCache{capacity: 4, meter: budget.New(budget.Limits{})}
	begun, waits := make(chan struct{}), make(chan struct{})
	first := make(chan *block)
	go func() {
		b, _ := c.load(1, func() (*block, error) {
			close(begun)
			<-waits
			return &block{data: []byte{1}}, nil
		}, nil)
		first <- b
	}()
	<-begun
	made := 0
	next := func() (*block, error) { made++; return &block{data: []byte{2}}, nil }
	b, err := c.load(1, nil, func() {
		c.ahead(2, next)
		c.ahead(2, next)
		close(waits)
	})
	if err != nil || b != <-first || made != 1 {
		t.Errorf("%v, %v, the next was made %d times", b, err, made)
	}
	if b, err := c.load(2, nil, nil); err != nil || b.data[0] != 2 {
		t.Errorf("%v, %v", b, err)
	}
	if _, err := c.load(1, nil, func() { t.Error("nobody is at it") }); err != nil {
		t.Error(err)
	}
}

func TestABlockThatCouldNotBeMadeAheadIsTriedAgain(t *testing.T) {
	c := blockCache{capacity: 4, meter: budget.New(budget.Limits{})}
	c.ahead(1, func() (*block, error) { return &block{}, errors.New("cut short") })
	if b, err := c.load(1, func() (*block, error) { return &block{data: []byte{1}}, nil }, nil); err != nil || len(b.data) != 1 {
		t.Errorf("%v, %v", b, err)
	}
}
