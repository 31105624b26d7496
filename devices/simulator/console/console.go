package console

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// Console is a running simulated unit.
type Console struct {
	Device string // the pseudo-terminal to open as a serial port

	master, slave *os.File
	line          *line
	config        Config
	memory        memory
	spi           []byte
	nand, mmc     []byte
	variables     map[string]string // set with setenv
	probed        bool
	flips         int  // sf reads that got a bit wrong
	lines         int  // of md, since the start
	reset         bool // the one reset of ResetAfter has happened

	typed  chan []byte
	ahead  []byte // typed and not yet taken
	power  chan struct{}
	cancel context.CancelFunc
	done   chan struct{}
	once   sync.Once

	mu  sync.Mutex
	log []string
}

// errPower says that the unit was switched off and on.
var errPower = errors.New("power cycled")

// Start starts a unit. It runs until the context ends or [Console.Close].
func Start(ctx context.Context, cfg Config) (*Console, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	c := &Console{config: cfg, variables: map[string]string{}, typed: make(chan []byte, 64), power: make(chan struct{}, 1), done: make(chan struct{})}
	c.memory = memory{flash: cfg.NOR, ram: cfg.RAM, pages: map[uint64][]byte{}}
	for _, f := range cfg.NOR {
		b, err := f.content()
		if err != nil {
			return nil, err
		}
		c.memory.nor = append(c.memory.nor, b)
	}
	if cfg.SPI != nil {
		b, err := cfg.SPI.content()
		if err != nil {
			return nil, err
		}
		c.spi = b
	}
	if cfg.NAND != nil {
		b, err := cfg.NAND.content()
		if err != nil {
			return nil, err
		}
		c.nand = b
	}
	if cfg.MMC != nil {
		b, err := cfg.MMC.content()
		if err != nil {
			return nil, err
		}
		c.mmc = b
	}
	var err error
	if c.master, c.slave, err = openPty(); err != nil {
		return nil, err
	}
	c.Device = c.slave.Name()
	c.line = &line{master: c.master, quirks: cfg.Quirks, baud: cfg.Baud, noise: rand.New(rand.NewPCG(1, 2))}
	ctx, c.cancel = context.WithCancel(ctx)
	heard := make(chan struct{})
	go c.listen(ctx, heard)
	go func() {
		defer close(c.done)
		c.run(ctx)
		c.master.Close()
		c.slave.Close()
		<-heard
	}()
	context.AfterFunc(ctx, func() { c.master.Close() })
	return c, nil
}

// Close ends the unit. To whoever has the port open it is as if the adapter was
// pulled.
func (c *Console) Close() error {
	c.once.Do(func() {
		c.cancel()
		<-c.done
	})
	return nil
}

// PowerCycle switches the unit off and on. It has the form of a console's power
// option.
func (c *Console) PowerCycle(context.Context) error {
	select {
	case c.power <- struct{}{}:
	default:
	}
	return nil
}

// Log returns the commands that were entered.
func (c *Console) Log() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.log)
}

func (c *Console) listen(ctx context.Context, heard chan<- struct{}) {
	defer close(heard)
	buf := make([]byte, 1024)
	for {
		n, err := c.master.Read(buf)
		if n > 0 {
			select {
			case c.typed <- slices.Clone(buf[:n]):
			case <-ctx.Done():
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// run is the unit's life, from one power-on to the next.
func (c *Console) run(ctx context.Context) {
	state := c.config.Start
	if state == "" {
		state = StateBoot
	}
	for ctx.Err() == nil {
		err := c.life(ctx, state)
		switch {
		case errors.Is(err, errPower):
			state = StateBoot
			c.forget(ctx)
		case err != nil:
			return
		}
	}
}

// forget is the moment without power, in which what is typed is lost.
func (c *Console) forget(ctx context.Context) {
	off := time.After(50 * time.Millisecond)
	for {
		select {
		case <-c.typed:
		case <-off:
			c.ahead = nil
			return
		case <-ctx.Done():
			return
		}
	}
}

func (c *Console) life(ctx context.Context, state State) error {
	if c.config.Quirks.Silent {
		for {
			if _, err := c.key(ctx, time.Hour); err != nil && !errors.Is(err, errPower) {
				return err
			}
		}
	}
	switch state {
	case StateOff, StateTouch:
		for {
			_, err := c.key(ctx, time.Hour)
			if err != nil {
				return err
			}
			if state == StateTouch {
				return errPower
			}
		}
	case StatePrompt:
		return c.shell(ctx)
	case StateLinux:
		return c.linux(ctx)
	}
	return c.boot(ctx)
}

var errIdle = errors.New("nothing typed")

// key returns the next typed byte, or errIdle after d.
func (c *Console) key(ctx context.Context, d time.Duration) (byte, error) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for len(c.ahead) == 0 {
		select {
		case b := <-c.typed:
			c.ahead = append(c.ahead, c.line.heard(b)...)
		case <-c.power:
			return 0, errPower
		case <-timer.C:
			return 0, errIdle
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	k := c.ahead[0]
	c.ahead = c.ahead[1:]
	return k, nil
}

func (c *Console) print(s string) error {
	return c.line.write(strings.ReplaceAll(s, "\n", "\r\n"))
}

func (c *Console) boot(ctx context.Context) error {
	c.probed = false
	for _, l := range c.config.Banner {
		if err := c.print(l + "\n"); err != nil {
			return err
		}
	}
	stopped, err := c.autoboot(ctx)
	if err != nil {
		return err
	}
	if !stopped {
		return c.linux(ctx)
	}
	if c.config.Boot.Ask != "" && !c.config.Boot.StopStr {
		if ok, err := c.password(ctx); err != nil || !ok {
			return cmp.Or(err, errPower)
		}
	}
	return c.shell(ctx)
}

// autoboot counts down as U-Boot does, rubbing the number out.
func (c *Console) autoboot(ctx context.Context) (stopped bool, err error) {
	b := c.config.Boot
	if b.Text == "" {
		b.Text = "Hit any key to stop autoboot: "
	}
	c.print(fmt.Sprintf("%s%2d ", b.Text, b.Seconds))
	var typed []byte
	for left := b.Seconds; left >= 0; left-- {
		end := time.Now().Add(time.Second)
		if b.Seconds == 0 {
			end = time.Now().Add(time.Second / 5)
		}
		for time.Now().Before(end) {
			k, err := c.key(ctx, time.Until(end))
			if errors.Is(err, errIdle) {
				break
			}
			if err != nil {
				return false, err
			}
			typed = append(typed, k)
			switch {
			case b.StopStr:
				if strings.HasPrefix(string(typed), b.Secret) {
					c.print("\n")
					c.ahead = nil
					return true, nil
				}
			case b.Key == "" || string(k) == b.Key:
				c.print("\b\b\b 0 \n")
				return true, nil
			}
		}
		if left > 0 {
			c.print(fmt.Sprintf("\b\b\b%2d ", left-1))
		}
	}
	c.print("\n")
	return false, nil
}

func (c *Console) password(ctx context.Context) (bool, error) {
	for range 3 {
		c.print(c.config.Boot.Ask)
		var typed []byte
		for {
			k, err := c.key(ctx, time.Hour)
			if err != nil {
				return false, err
			}
			if k == '\r' {
				break
			}
			if k >= 0x20 {
				typed = append(typed, k)
			}
		}
		c.print("\n")
		if string(typed) == c.config.Boot.Secret {
			return true, nil
		}
	}
	return false, nil
}

// linux prints the kernel's lines and waits at the last one.
func (c *Console) linux(ctx context.Context) error {
	c.print("Starting kernel ...\n\n")
	last := "camera login: "
	if n := len(c.config.Kernel); n > 0 {
		c.print(strings.Join(c.config.Kernel[:n-1], "\n") + "\n")
		last = c.config.Kernel[n-1]
	}
	c.print(last)
	shell := strings.HasSuffix(last, "# ") || strings.HasSuffix(last, "$ ")
	var typed []byte
	for {
		k, err := c.key(ctx, time.Hour)
		if err != nil {
			return err
		}
		switch {
		case k == 3:
			typed = nil
			c.print("^C\n" + last)
		case k == '\r' && shell:
			if len(typed) > 0 {
				c.print("\n-sh: " + string(typed) + ": not found")
			}
			typed = nil
			c.print("\n" + last)
		case k == '\r':
			typed = nil
			c.print("\nPassword: \n\nLogin incorrect\n" + last)
		case k >= 0x20 && k < 0x7f:
			typed = append(typed, k)
			c.print(string(k))
		}
	}
}
