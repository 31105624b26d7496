package network

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"

	"assay/devices"
)

// Baichuan is Reolink's own protocol on TCP 9000: a header of 20 or 24 bytes (f0 de
// bc 0a, message, length, an offset of the cipher, an encryption, a class;
// little-endian) and XML under a fixed XOR. The layout and the cipher are those of
// thirtythreeforty/neolink dissector/baichuan.lua and of captures of a TrackMix.
//
// The one message asks for the nonce of a login, without a user and without a
// password: it counts as no attempt. The answer tells nothing but whose protocol it
// is; what identifies the unit would need the login, and ONVIF tells the same.
var baichuanProtocol = protocol{
	name: "baichuan", maker: "reolink",
	ports:    []port{{"baichuan", 9000}},
	messages: []message{{"TCP 9000", hex.EncodeToString(baichuanAsk)}},
	talk:     (*session).baichuan,
}

// baichuanAsk is message 1 of the legacy class (1465), without a body, for a unit
// that may choose any encryption (12dc).
var baichuanAsk = []byte{0xf0, 0xde, 0xbc, 0x0a, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x12, 0xdc, 0x14, 0x65}

func baichuanGate(b []byte) bool { return bytes.Equal(b, baichuanAsk) }

var baichuanNonce = &request{protocol: "baichuan", operation: "nonce"}

func (s *session) baichuan(ctx context.Context, ep *endpoint) {
	w := s.connect(ctx, ep, baichuanGate)
	if w == nil {
		return
	}
	defer w.Close()
	s.step("%s %s", ep, baichuanNonce.source())
	if _, err := w.Write(baichuanAsk); err != nil {
		return
	}
	raw, err := s.receive(w, 64<<10, func(raw []byte) bool {
		_, whole, err := parseBaichuan(raw)
		return whole || err != nil
	})
	if ctx.Err() != nil || len(raw) == 0 {
		return // many things listen on port 9000
	}
	text, whole, bad := parseBaichuan(raw)
	switch {
	case bad != nil:
		return
	case !ended(err):
		s.problem(baichuanNonce, err)
	case !whole:
		s.problem(baichuanNonce, short(ep, err, len(raw)))
	}
	if !bytes.Contains(text, []byte("<nonce>")) {
		return // an echo of what was sent, say
	}
	a := s.saidOver(baichuanNonce, "application/octet-stream", raw)
	s.answers(a, ep)
	s.observe(a, "reolink.baichuan", hex.EncodeToString(raw[:4]), "magic")
}

var errNoBaichuan = errors.New("does not speak Baichuan")

// parseBaichuan reads one answer as far as it came, and takes the XOR off its body.
func parseBaichuan(raw []byte) (text []byte, whole bool, err error) {
	const header = 20
	if !bytes.HasPrefix(raw, baichuanAsk[:min(len(raw), 8)]) {
		return nil, false, fmt.Errorf("%w: %w", devices.ErrMalformed, errNoBaichuan)
	}
	if len(raw) < header {
		return nil, false, nil
	}
	length, offset := int64(binary.LittleEndian.Uint32(raw[8:])), raw[12]
	body := raw[header:]
	if whole = int64(len(body)) >= length; whole {
		body = body[:length]
	}
	key := [8]byte{0x1f, 0x2d, 0x3c, 0x4b, 0x5a, 0x69, 0x78, 0xff}
	text = make([]byte, len(body))
	for i, c := range body {
		text[i] = c ^ key[(int(offset)+i)%len(key)] ^ offset
	}
	return text, whole, nil
}
