package line

import (
	"errors"
	"io"
	"strings"
	"sync"
	"testing"

	"go.bug.st/serial"
)

// stuck is a port that accepts nothing until its output is thrown away.
type stuck struct {
	once  sync.Once
	freed chan struct{}
}

func (s *stuck) Read([]byte) (int, error) { <-s.freed; return 0, io.EOF }

func (s *stuck) Write(b []byte) (int, error) { <-s.freed; return len(b), nil }

func (s *stuck) ResetOutputBuffer() error { s.once.Do(func() { close(s.freed) }); return nil }

func (s *stuck) SetMode(*serial.Mode) error { return nil }

func (s *stuck) Close() error { return nil }

func TestAWriteThatNobodyDrainsIsGivenUpAndFreedByClose(t *testing.T) {
	s := &stuck{freed: make(chan struct{})}
	p := newPort("stuck", s, io.NopCloser(nil))
	if _, err := p.Write([]byte("x")); !errors.Is(err, errNotDrained) {
		t.Errorf("first write: %v", err)
	}
	p.Close()
	select {
	case <-p.stopped:
	default:
		t.Error("the writing goroutine is still there after Close")
	}
	if _, err := p.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("write after Close: %v", err)
	}
	p.Close()
}

// careless is a port whose library panics, as select does above descriptor 1023.
type careless struct{ *stuck }

func (careless) Read([]byte) (int, error)   { panic("index out of range [17] with length 16") }
func (careless) Write([]byte) (int, error)  { panic("index out of range [17] with length 16") }
func (careless) SetMode(*serial.Mode) error { panic("index out of range [17] with length 16") }

func TestAPanicOfTheSerialLibraryIsAnErrorThatSaysWhatToDo(t *testing.T) {
	p := newPort("careless", careless{&stuck{freed: make(chan struct{})}}, io.NopCloser(nil))
	defer p.Close()
	_, read := p.Read(make([]byte, 1))
	_, write := p.Write([]byte("x"))
	for _, err := range []error{read, write, p.SetBaud(9600)} {
		if err == nil || !strings.Contains(err.Error(), "too many files open") {
			t.Errorf("%v", err)
		}
	}
}
