package line

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// transcriptMax bounds the transcript that is kept as evidence. What goes to
// the caller's own writer is not bounded.
const transcriptMax = 4 << 20

// pendingMax is longer than an environment variable, so that a secret is not cut
// off from its name.
const pendingMax = 16 << 10

// Transcript records both directions of a session, a line an event:
//
//	0.120 < "=> "          received
//	0.121 > "version"      sent
//	0.122 # a remark of ours
//
// The zero value keeps a transcript in memory.
type Transcript struct {
	start time.Time
	copy  io.Writer // may be nil
	kept  bytes.Buffer
	lost  int64
	quiet bool // received bytes are counted in a remark instead
	muted int64

	secrets []string // passwords, should the unit echo them
	failed  error    // of the writer

	pending   []byte // received, and not yet a whole line
	pendingAt time.Time
	typing    []byte // by a person, and not yet a whole line
	typingAt  time.Time
	hidden    bool // what is being typed is a password
}

// NewTranscript returns a transcript that is copied to w as it grows, where w is
// not nil, and in which secret, where it is not empty, is masked even when the
// unit echoes it.
func NewTranscript(w io.Writer, secret string) *Transcript {
	t := &Transcript{copy: w}
	if secret != "" {
		t.secrets = []string{secret}
	}
	return t
}

func (t *Transcript) received(b []byte) {
	if t.quiet {
		t.muted += int64(len(b))
		return
	}
	for _, c := range b {
		if len(t.pending) == 0 {
			t.pendingAt = time.Now()
		}
		if t.pending = append(t.pending, c); c == '\n' || len(t.pending) >= pendingMax {
			t.flush()
		}
	}
}

func (t *Transcript) flush() {
	if len(t.pending) > 0 {
		t.event(t.pendingAt, '<', strconv.QuoteToASCII(string(t.pending)))
		t.pending = t.pending[:0]
	}
}

func (t *Transcript) sent(b []byte) {
	t.flush()
	t.event(time.Now(), '>', strconv.QuoteToASCII(string(b)))
}

// Bounds of passwords that were typed: a short one would mask half of what a unit
// says, and there is no end to what a person may type.
const (
	typedSecretMin = 4
	typedSecrets   = 64
)

// typed keeps what a person types, key by key, as lines. Lines alone can be searched
// for secrets: a variable's name and its value, and the echo of both, do not stand
// in one key. A hidden line shows its end only, and is masked where it is echoed.
func (t *Transcript) typed(b []byte, hidden bool) {
	for _, c := range b {
		if len(t.typing) == 0 {
			t.flush()
			t.typingAt = time.Now()
		}
		t.typing = append(t.typing, c)
		t.hidden = t.hidden || hidden
		if c == '\r' || c == '\n' || c == 0x03 || c == 0x04 || len(t.typing) >= pendingMax {
			t.flushTyped()
		}
	}
}

func (t *Transcript) flushTyped() {
	if len(t.typing) == 0 {
		return
	}
	shown := string(t.typing)
	if t.hidden {
		secret := strings.TrimRight(shown, "\r\n\x03\x04")
		shown = "***" + shown[len(secret):]
		if len(secret) >= typedSecretMin && len(t.secrets) < typedSecrets {
			t.secrets = append(t.secrets, secret)
		}
	}
	t.typing, t.hidden = t.typing[:0], false
	t.event(t.typingAt, '>', strconv.QuoteToASCII(shown))
}

// Failed is the error of the writer that the transcript is copied to, or nil.
func (t *Transcript) Failed() error { return t.failed }

// Remark adds a line of our own.
func (t *Transcript) Remark(format string, args ...any) {
	t.flushTyped()
	t.flush()
	t.event(time.Now(), '#', fmt.Sprintf(format, args...))
}

// Mute counts what is received instead of keeping it until
// [Transcript.Unmute]: a dump's lines are kept as the dump.
func (t *Transcript) Mute() { t.flush(); t.quiet, t.muted = true, 0 }

// Unmute ends Mute and says how much was received.
func (t *Transcript) Unmute() {
	t.quiet = false
	t.Remark("%d bytes received as a dump", t.muted)
}

func (t *Transcript) event(at time.Time, direction byte, what string) {
	if t.start.IsZero() {
		t.start = at
	}
	for _, s := range t.secrets {
		quoted := strconv.QuoteToASCII(s)
		what = strings.ReplaceAll(what, quoted[1:len(quoted)-1], "***")
	}
	line := fmt.Sprintf("%9.3f %c %s\n", at.Sub(t.start).Seconds(), direction, WithoutSecrets(what))
	if t.copy != nil {
		if _, err := io.WriteString(t.copy, line); err != nil && t.failed == nil {
			t.failed = err
		}
	}
	if t.kept.Len()+len(line) > transcriptMax {
		t.lost += int64(len(line))
		return
	}
	t.kept.WriteString(line)
}

// Take returns what was kept since the last time.
func (t *Transcript) Take() []byte {
	t.flushTyped()
	t.flush()
	b := bytes.Clone(t.kept.Bytes())
	if t.lost > 0 {
		b = fmt.Appendf(b, "# %d more bytes of transcript not kept\n", t.lost)
	}
	t.kept.Reset()
	t.lost = 0
	return b
}

// secretVariable matches an environment variable whose value is a secret by its
// name, as makers name them (wifi_password=, psk=, rootpw=).
var secretVariable = regexp.MustCompile(`(?i)(\b[\w.-]*(?:passw|secret|psk|token|rootpw|pwd|wep_?key|wpa_?key)[\w.-]*=)[^\r\n"]+`)

// WithoutSecrets masks the values of variables that hold passwords by name.
func WithoutSecrets(s string) string { return secretVariable.ReplaceAllString(s, "$1***") }
