package console

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"assay/devices"
)

// wire carries bytes to and from a unit. One goroutine reads; whoever calls
// next owns what was read.
type wire struct {
	name string
	rw   io.ReadWriteCloser
	log  *transcript

	chunks chan []byte
	stop   chan struct{}
	once   sync.Once
	done   chan struct{} // closed when the reader has ended
	err    error         // why it ended; read after chunks is closed
}

// errGone marks a line that ended: an adapter pulled, a terminal closed.
var errGone = errors.New("the line is gone")

func newWire(name string, rw io.ReadWriteCloser, log *transcript) *wire {
	w := &wire{name: name, rw: rw, log: log, chunks: make(chan []byte, 64), stop: make(chan struct{}), done: make(chan struct{})}
	go w.reader()
	return w
}

func (w *wire) reader() {
	defer close(w.done)
	defer close(w.chunks)
	buf := make([]byte, 4096)
	for empty := 0; empty < 100; {
		n, err := w.rw.Read(buf)
		if n > 0 {
			empty = 0
			select {
			case w.chunks <- append([]byte(nil), buf[:n]...):
			case <-w.stop:
				w.err = io.ErrClosedPipe
				return
			}
		}
		if err != nil {
			w.err = err
			return
		}
		if n == 0 { // a serial port's way to say that a read timed out
			empty++
			time.Sleep(time.Millisecond)
		}
	}
	w.err = io.ErrNoProgress
}

// errQuiet says that nothing came within the time that next was given.
var errQuiet = errors.New("nothing received")

// next returns what comes within d, or errQuiet.
func (w *wire) next(ctx context.Context, d time.Duration) ([]byte, error) {
	select { // a timer costs more than a chunk that is already there
	case b, ok := <-w.chunks:
		return w.took(b, ok)
	default:
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case b, ok := <-w.chunks:
		return w.took(b, ok)
	case <-timer.C:
		return nil, errQuiet
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (w *wire) took(b []byte, ok bool) ([]byte, error) {
	if !ok {
		return nil, w.gone(w.err)
	}
	w.log.received(b)
	return b, nil
}

func (w *wire) gone(cause error) error {
	return fmt.Errorf("%s: %w: %w (%w): was the adapter or the unit unplugged? what was read is kept", w.name, devices.ErrUnreachable, errGone, cause)
}

// send writes b and records it as shown, which differs where b is a secret.
func (w *wire) send(b []byte, shown string) error {
	w.log.sent([]byte(shown))
	if _, err := w.rw.Write(b); err != nil {
		return w.gone(err)
	}
	return nil
}

func (w *wire) close() error {
	var err error
	w.once.Do(func() {
		close(w.stop)
		err = w.rw.Close()
		select {
		case <-w.done:
		case <-time.After(time.Second): // a Read that ignores Close; its chunk is dropped
		}
	})
	return err
}
