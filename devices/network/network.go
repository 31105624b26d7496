// Package network reads what a camera says of itself over HTTP and HTTPS (the
// banner and login challenge of its web server, its TLS certificate, ONVIF, and
// the device-information requests of makers), and over sockets of their own: RTSP,
// Xiongmai's DVRIP, Reolink's Baichuan, SNMP, and the banners of SSH, Telnet and FTP. Each protocol is
// one file, which names the source of its facts; protocol.go lists them and says
// who is asked what.
//
// All of it is the unit's word (acquisition A0), over a transport whose other
// end is not authenticated. Only the requests of one list are ever sent; none
// of them changes a setting. The operator's login is offered once: a refusal by
// one protocol ends all logging in.
package network

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"assay/attest"
	"assay/devices"
	"assay/devices/fingerprint"
	"assay/devices/fingerprint/recog"
)

// Options are the settings of a [Channel]. The zero value works, without login.
type Options struct {
	Account *devices.Account
	// ONVIFAccount is the login for ONVIF, where it is another than Account.
	ONVIFAccount *devices.Account
	// AllowBasic permits sending the password readable (HTTP Basic) over plain
	// HTTP, or over TLS too weak to keep it, to a unit that offers no digest.
	AllowBasic bool
	// Progress is told each step before it is taken.
	Progress func(step string)
	// MaxBody is how many bytes of one answer are read; 1 MiB when 0.
	MaxBody int64
	// Timeout is how long one answer may take in all; [devices.Patience] when 0.
	Timeout time.Duration
	// Pace is the pause before each request, since cheap cameras fall over
	// under a burst; 50 ms when 0.
	Pace time.Duration
	// Turn is called before each request and connection, after the pause, and may
	// wait, so that the channels to many units keep one rate; nil is no wait. Its
	// error ends the request.
	Turn func(context.Context) error
	// Rules are the fingerprints; the embedded ones when nil.
	Rules *fingerprint.Rules
	// SNMP is how the unit may be asked over SNMP; not at all when zero.
	SNMP SNMP
	// Ports are where the protocols with a socket of their own are asked, by scheme
	// ("rtsp", "rtsps", "dvrip", "baichuan", "snmp", "ssh", "telnet", "ftp"). When nil they are
	// asked at their usual ports, and not at all where the target names its port.
	Ports map[string][]int
}

// Channel is the network way into one unit. It holds no connection between
// requests.
type Channel struct {
	target devices.Target
	o      Options
	now    func() time.Time
	random io.Reader
}

var _ devices.Channel = (*Channel)(nil)

// Open returns the channel to t. It connects to nothing yet.
func Open(t devices.Target, o Options) *Channel {
	if o.MaxBody <= 0 {
		o.MaxBody = 1 << 20
	}
	if o.Timeout <= 0 {
		o.Timeout = devices.Patience
	}
	if o.Pace <= 0 {
		o.Pace = 50 * time.Millisecond
	}
	if o.Rules == nil {
		o.Rules = fingerprint.Embedded()
	}
	return &Channel{target: t, o: o, now: time.Now, random: rand.Reader}
}

// Close does nothing: every connection ends with its answer.
func (c *Channel) Close() error { return nil }

// Identify asks the unit over HTTP everything that needs no login, then what needs
// one, and then the protocols that have a socket of their own. Requests follow one
// another; there is never more than one open connection. The error wraps
// [devices.ErrUnreachable] when nothing answered and [devices.ErrNotUnit] when what
// answered speaks none of the protocols.
func (c *Channel) Identify(ctx context.Context, sink devices.Sink) error {
	s := newSession(c, sink)
	defer s.conclude()
	ep, unreached := s.reach(ctx)
	if unreached == nil {
		s.openly(ctx, ep)
		s.favicon(ctx, ep)
		s.withLogin(ctx, ep)
	}
	if s.secure != nil {
		s.survey(ctx, s.secure)
	}
	if c.target.Kind == devices.KindNetwork {
		s.overSockets(ctx, unreached == nil)
	}
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%s: identifying stopped early: %w", c.target, ctx.Err())
	case unreached != nil && !s.gave:
		return fmt.Errorf("%s: %w", c.target, unreached)
	case unreached != nil: // what else answered is worth keeping
		s.problem(landingPage, unreached)
	case !s.gave:
		return fmt.Errorf("%s: %w: something answers there, and nothing of it could be read", c.target, devices.ErrHostile)
	}
	return nil
}

// reach finds the endpoint that the protocols are asked at.
func (s *session) reach(ctx context.Context) (*endpoint, error) {
	t := s.target
	if t.Kind != devices.KindNetwork {
		return nil, fmt.Errorf("not a network target")
	}
	if t.Port != 0 {
		return s.reachPort(ctx)
	}
	var tried []error
	var chosen *endpoint
	for _, ep := range []*endpoint{newEndpoint("http", t.Host, 80), newEndpoint("https", t.Host, 443)} {
		if ep.scheme == "http" && t.TLS {
			continue
		}
		next, err := s.landing(ctx, ep)
		switch {
		case err == nil && chosen == nil:
			chosen = next
		case err != nil && chosen != nil && !errors.Is(err, devices.ErrUnreachable):
			s.problem(landingPage, err)
		case err != nil:
			tried = append(tried, err)
		}
		if chosen != nil && chosen.scheme == "https" {
			break
		}
	}
	if chosen == nil {
		return nil, unreached(tried)
	}
	return chosen, nil
}

// reachPort finds out whether the one port of the target speaks HTTP or TLS.
func (s *session) reachPort(ctx context.Context) (*endpoint, error) {
	t := s.target
	var tried []error
	for _, scheme := range []string{"http", "https"} {
		if scheme == "http" && t.TLS {
			continue
		}
		ep, err := s.landing(ctx, newEndpoint(scheme, t.Host, t.Port))
		if err == nil {
			return ep, nil
		}
		tried = append(tried, err)
		if errors.Is(err, devices.ErrUnreachable) && !errors.Is(err, errHungUp) {
			break // nothing listens: TLS would not either
		}
	}
	return nil, unreached(tried)
}

// unreached makes one error of what was tried. Something that answered, but not
// in HTTP, outweighs what did not answer.
func unreached(tried []error) error {
	var says []string
	kind := devices.ErrUnreachable
	for _, err := range tried {
		says = append(says, plain(err))
		switch {
		case errors.Is(err, devices.ErrHostile):
			kind = devices.ErrHostile
		case errors.Is(err, devices.ErrMalformed) && kind == devices.ErrUnreachable:
			kind = devices.ErrNotUnit
		}
	}
	return fmt.Errorf("%w: %s; check the address, the port, power and cabling", kind, strings.Join(says, "; "))
}

// conclude makes the marks of all that was seen and names what a login would
// have opened. It runs however the session ended.
func (s *session) conclude() {
	s.boards()
	s.grammars()
	s.family()
	for _, m := range slices.Concat(s.o.Rules.Match(s.seen), recog.Hints(s.seen)) {
		s.sink.Mark(m)
	}
	if len(s.locked) == 0 {
		return
	}
	why := "need a login, and none was given"
	if by := s.o.Account.Refused(); by != "" {
		why = "need a login, which " + by + " refused"
	} else if s.o.Account != nil {
		why = "need a login that could not be given"
	}
	const named = 8
	what := strings.Join(s.locked[:min(len(s.locked), named)], ", ")
	if more := len(s.locked) - named; more > 0 {
		what += fmt.Sprintf(" and %d more", more)
	}
	s.sink.Problem(attest.ProblemIncomplete, "network", what+": "+why)
}
