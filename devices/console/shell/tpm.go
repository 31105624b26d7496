package shell

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"assay/devices"
)

// tpmMax bounds a TPM's command and its response: TPM_BUFSIZE of the Linux
// driver (drivers/char/tpm/tpm.h).
const tpmMax = 4096

// tpmReading are the commands that may go to a unit's TPM. None changes what
// stays in it: objects and sessions that they make are gone when the device is
// closed. Codes are of TPM 2.0 Part 2, section 6.5.2.
var tpmReading = map[tpm2.TPMCC]bool{
	tpm2.TPMCCQuote: true, tpm2.TPMCCGetCapability: true, tpm2.TPMCCPCRRead: true, tpm2.TPMCCReadPublic: true,
	tpm2.TPMCCNVRead: true, tpm2.TPMCCNVReadPublic: true, tpm2.TPMCCCreatePrimary: true, tpm2.TPMCCCreate: true,
	tpm2.TPMCCLoad: true, tpm2.TPMCCFlushContext: true, tpm2.TPMCCStartAuthSession: true, tpm2.TPMCCPolicySecret: true,
	tpm2.TPMCCActivateCredential: true, tpm2.TPMCCGetRandom: true, tpm2.TPMCCReadClock: true,
}

// shellTPM is a unit's TPM behind its shell.
type shellTPM struct {
	p    *Prompt
	ctx  context.Context
	open bool
}

// TPM returns the unit's TPM, reached through the shell: a command goes to
// /dev/tpmrm0 as octal escapes, and the response comes back as the flash does.
// The device stays open in the unit's shell until Close, because its resource
// manager forgets objects and sessions when it is closed. Commands that could
// change what stays in the TPM are refused. ctx bounds all that is sent.
//
// Nothing shows that the answers are a TPM's and not a program's: what a quote
// proves is for its verifier to say.
func (p *Prompt) TPM(ctx context.Context) transport.TPMCloser { return &shellTPM{p: p, ctx: ctx} }

const tpmTries = 4

// Send implements [transport.TPM].
func (t *shellTPM) Send(input []byte) ([]byte, error) {
	if err := permitTPM(input); err != nil {
		return nil, err
	}
	if err := t.start(); err != nil {
		return nil, err
	}
	tries := 1
	if repeatable(input) {
		tries = tpmTries
	}
	var last error
	for range tries {
		b, err := t.exchange(input)
		if err == nil || !errors.Is(err, errFrame) && !errors.Is(err, errGarbled) {
			return b, err
		}
		if errors.Is(err, ErrRestarted) {
			t.open = false
			return nil, fmt.Errorf("%s: TPM: %w: %w", t.p.line.Name, devices.ErrUnreachable, err)
		}
		last = err
	}
	return nil, fmt.Errorf("%s: TPM: the response was spoilt on the line %d times: %w: %w", t.p.line.Name, tries, devices.ErrMalformed, last)
}

// permitTPM refuses a command that is not known to leave the TPM as it is.
func permitTPM(b []byte) error {
	if len(b) < 10 || len(b) > tpmMax || binary.BigEndian.Uint32(b[2:]) != uint32(len(b)) {
		return fmt.Errorf("TPM: %d bytes that are no command: not sent", len(b))
	}
	if cc := tpm2.TPMCC(binary.BigEndian.Uint32(b[6:])); !tpmReading[cc] {
		return fmt.Errorf("TPM: command %#x is not one of the reading commands: not sent", uint32(cc))
	}
	return nil
}

// repeatable reports whether a command may be sent again when its response was
// lost: one without sessions other than a password's, whose nonces do not roll.
func repeatable(b []byte) bool {
	switch tpm2.TPMST(binary.BigEndian.Uint16(b)) {
	case tpm2.TPMSTNoSessions:
		return true
	case tpm2.TPMSTSessions:
	default:
		return false
	}
	cc := tpm2.TPMCC(binary.BigEndian.Uint32(b[6:]))
	handles := map[tpm2.TPMCC]int{
		tpm2.TPMCCQuote: 1, tpm2.TPMCCNVRead: 2, tpm2.TPMCCCreatePrimary: 1, tpm2.TPMCCCreate: 1, tpm2.TPMCCLoad: 1,
	}[cc]
	at := 10 + 4*handles
	if handles == 0 || len(b) < at+8 {
		return false
	}
	return binary.BigEndian.Uint32(b[at+4:]) == uint32(tpm2.TPMRSPW)
}

// start opens the device in the unit's shell, where it is one: opening a path
// that is not there would make a file.
func (t *shellTPM) start() error {
	if t.open {
		return nil
	}
	p := t.p
	if err := p.Meet(t.ctx); err != nil {
		return err
	}
	if p.can.octal == "" || !p.can.dd {
		return fmt.Errorf("%s: TPM: the shell has no printf or echo with octal escapes, or no dd: %w: the TPM cannot be reached through it", p.line.Name, devices.ErrAccess)
	}
	if p.can.form().name == "text" {
		return fmt.Errorf("%s: TPM: not all bytes come through the unit's terminal, and its shell has no way to write them as text: %w", p.line.Name, devices.ErrAccess)
	}
	device := p.path(p.o.TPM)
	for range fetchings {
		// A redirection that fails ends the whole line, and no marker comes.
		r := &request{max: 4 << 10, after: true, atoms: []string{"[ -c " + device + " ]&&exec 9<>" + device + ";"}}
		status, err := p.ask(t.ctx, r)
		if errors.Is(err, errGarbled) {
			continue
		}
		if err != nil {
			return err
		}
		if status == "0" {
			t.open = true
			return nil
		}
		return fmt.Errorf("%s: TPM: no %s that this shell can open (%q): %w: a unit without a TPM, without its driver, or a shell without the right", p.line.Name, device, clip(r.said()), devices.ErrAccess)
	}
	return fmt.Errorf("%s: TPM: %w: %w", p.line.Name, devices.ErrMalformed, errGarbled)
}

// exchange sends a command in one write, as the driver wants it, and reads the
// response in one read.
func (t *shellTPM) exchange(input []byte) ([]byte, error) {
	p := t.p
	f := p.can.form()
	r := &request{max: f.lineMax(tpmMax), atoms: []string{"{ "}}
	for _, s := range p.octal(input, 150) {
		r.atoms = append(r.atoms, p.can.octal+"'"+s+"';")
	}
	r.atoms = append(r.atoms, "}|dd obs=4096 >&9 2>/dev/null;")
	r.add("t", "dd bs=4096 count=1 <&9 2>/dev/null"+f.pipe()+";")
	var got []byte
	last := fmt.Errorf("%w: no response", errGarbled)
	r.each = func(fr frame) error {
		if fr.tag != "t" {
			return nil
		}
		got, last = f.decode(fr, tpmMax)
		return nil
	}
	if _, err := p.ask(t.ctx, r); err != nil {
		return nil, err
	}
	if last != nil {
		return nil, last
	}
	if len(got) < 10 || binary.BigEndian.Uint32(got[2:]) != uint32(len(got)) {
		return nil, fmt.Errorf("%s: TPM: %d bytes that are no response: %w", p.line.Name, len(got), devices.ErrMalformed)
	}
	return got, nil
}

// octal writes bytes as the shell's printf or echo reads them, in pieces of at
// most n characters. Letters stand for themselves.
func (p *Prompt) octal(b []byte, n int) []string {
	var all []string
	var s strings.Builder
	for _, c := range b {
		if s.Len()+5 > n {
			all = append(all, s.String())
			s.Reset()
		}
		switch {
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
			s.WriteByte(c)
		case p.can.octal0:
			fmt.Fprintf(&s, `\0%03o`, c)
		default:
			fmt.Fprintf(&s, `\%03o`, c)
		}
	}
	return append(all, s.String())
}

// Close closes the device in the unit's shell.
func (t *shellTPM) Close() error {
	if !t.open {
		return nil
	}
	t.open = false
	for range fetchings {
		_, err := t.p.ask(t.ctx, &request{max: 4 << 10, after: true, atoms: []string{"exec 9>&-;"}})
		if !errors.Is(err, errGarbled) {
			return err
		}
	}
	return fmt.Errorf("%s: TPM: the device stays open in the unit's shell: %w: %w", t.p.line.Name, devices.ErrMalformed, errGarbled)
}
