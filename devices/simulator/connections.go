package simulator

import (
	"net"
	"sync"
)

// connections counts what is open to a camera at once, over all its listeners.
type connections struct {
	mu   sync.Mutex
	open map[net.Conn]bool
	most int
	all  int
}

// listen counts the connections of a listener.
func (c *connections) listen(l net.Listener) net.Listener { return countedListener{l, c} }

type countedListener struct {
	net.Listener
	c *connections
}

func (l countedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	counted := &countedConn{Conn: conn, c: l.c}
	l.c.add(counted)
	return counted, nil
}

type countedConn struct {
	net.Conn
	c    *connections
	once sync.Once
}

func (c *countedConn) Close() error {
	c.once.Do(func() { c.c.remove(c) })
	return c.Conn.Close()
}

// add counts the connections whose other end has not closed them: what we have
// not heard of yet is the delay of this machine and not the visitor's doing.
func (c *connections) add(conn *countedConn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == nil {
		c.open = map[net.Conn]bool{}
	}
	c.open[conn] = true
	c.all++
	n := 0
	for x := range c.open {
		if established(x.(*countedConn).Conn) {
			n++
		}
	}
	c.most = max(c.most, n)
}

func (c *connections) remove(conn *countedConn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, conn)
}

// Connections is how many connections the camera had in all, and how many were
// open at once.
func (s *Server) Connections() (all, most int) {
	s.connections.mu.Lock()
	defer s.connections.mu.Unlock()
	return s.connections.all, s.connections.most
}

// SetLinger is the TCP connection's, for the ways to misbehave.
func (c *countedConn) SetLinger(seconds int) error {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		return tcp.SetLinger(seconds)
	}
	return nil
}
