package line

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"go.bug.st/serial"

	"assay/devices"
)

// serialPort is the part of [serial.Port] that is used here.
type serialPort interface {
	io.ReadWriteCloser
	SetMode(*serial.Mode) error
	ResetOutputBuffer() error
}

// port mends what go.bug.st/serial leaves to its caller: a Write that nobody
// drains blocks for ever and Close does not free it; a descriptor of 1024 or
// more panics in select; root opens a port that is in use.
type port struct {
	device string
	serial serialPort
	lock   io.Closer

	write   chan []byte
	written chan error
	stop    chan struct{}
	stopped chan struct{}
	once    sync.Once
	err     error
}

// Rates are the usual ones, in bits a second, most usual first.
var Rates = []int{115200, 57600, 38400, 9600, 19200, 230400, 460800, 921600, 1500000}

// Open opens what [devices.Target] names as a serial target's device: a serial
// port, for us alone, or a console server's port. Its error says what to do.
func Open(ctx context.Context, device string, baud int) (io.ReadWriteCloser, error) {
	if strings.HasPrefix(device, devices.SchemeTCP) || strings.HasPrefix(device, devices.SchemeRFC2217) {
		return openServer(ctx, device, baud)
	}
	p, err := openDevice(device, baud)
	if err != nil {
		return nil, err // and not a port that is nil
	}
	return p, nil
}

func openDevice(device string, baud int) (*port, error) {
	if !pseudoTerminal(device) {
		if err := inUse(device); err != nil {
			return nil, err
		}
	}
	lock, err := lockDevice(device)
	if err != nil {
		return nil, openError(device, err)
	}
	s, err := openSerial(device, baud)
	if err != nil {
		lock.Close()
		return nil, openError(device, err)
	}
	return newPort(device, s, lock), nil
}

func openSerial(device string, baud int) (p serial.Port, err error) {
	defer recovered(&err)
	return serial.Open(device, &serial.Mode{BaudRate: baud})
}

func newPort(device string, s serialPort, lock io.Closer) *port {
	p := &port{
		device: device, serial: s, lock: lock,
		write: make(chan []byte), written: make(chan error, 1),
		stop: make(chan struct{}), stopped: make(chan struct{}),
	}
	go p.writer()
	return p
}

func (p *port) Read(b []byte) (n int, err error) {
	defer recovered(&err)
	return p.serial.Read(b)
}

// Write gives up after writeTimeout: a line with flow control held off, or an
// adapter whose far end is gone, would hold it for ever.
func (p *port) Write(b []byte) (int, error) {
	select {
	case p.write <- append([]byte(nil), b...):
	case <-p.stop:
		return 0, io.ErrClosedPipe
	case <-time.After(writeTimeout):
		return 0, errNotDrained
	}
	select {
	case err := <-p.written:
		if err != nil {
			return 0, err
		}
		return len(b), nil
	case <-p.stop:
		return 0, io.ErrClosedPipe
	case <-time.After(writeTimeout):
		return 0, errNotDrained
	}
}

const writeTimeout = 3 * time.Second

var errNotDrained = errors.New("the port accepts no more bytes: unplugged, or its flow control holds")

func (p *port) writer() {
	defer close(p.stopped)
	for {
		select {
		case b := <-p.write:
			err := p.writeAll(b)
			select {
			case <-p.written: // the answer to a write that was given up
			default:
			}
			p.written <- err
		case <-p.stop:
			return
		}
	}
}

func (p *port) writeAll(b []byte) (err error) {
	defer recovered(&err)
	for len(b) > 0 {
		n, err := p.serial.Write(b)
		if err != nil {
			return err
		}
		b = b[n:]
		select {
		case <-p.stop:
			return io.ErrClosedPipe
		default:
		}
	}
	return nil
}

// SetBaud changes the rate; what is in flight is read at either rate.
func (p *port) SetBaud(baud int) (err error) {
	defer recovered(&err)
	return p.serial.SetMode(&serial.Mode{BaudRate: baud})
}

// Close frees a Write that nobody drains by throwing its bytes away, and only
// then closes the descriptor, so that no Write can reach a reused one.
func (p *port) Close() error {
	p.once.Do(func() {
		close(p.stop)
		for i := 0; i < 50; i++ {
			select {
			case <-p.stopped:
				i = 50
			case <-time.After(20 * time.Millisecond):
				p.discardOutput()
			}
		}
		p.err = p.serial.Close()
		p.lock.Close()
	})
	return p.err
}

func (p *port) discardOutput() (err error) {
	defer recovered(&err)
	return p.serial.ResetOutputBuffer()
}

// recovered turns the library's index panic into an error: its select(2) set
// holds descriptors below 1024 only.
func recovered(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("serial library: %v: this process has too many files open (a port's descriptor must be below 1024); open ports first", r)
	}
}
