package shell

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/google/go-tpm/tpm2"
	"golang.org/x/term"

	"assay/devices"
	wire "assay/devices/simulator/line"
	"assay/internal/peer"
)

// tpmDevice starts a software TPM and returns a device that speaks to it as
// /dev/tpmrm0 does, a command a write and a response a read. Where the kernel has
// no virtual TPM, a pseudo-terminal is as near to one as a test gets.
func tpmDevice(t *testing.T) string {
	t.Helper()
	swtpm := peer.Need(t, "swtpm", "swtpm")
	dir, err := os.MkdirTemp("", "tpm") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	cmd := exec.Command(swtpm, "socket", "--tpm2", "--tpmstate", "dir="+dir, "--server", "type=unixio,path="+socket,
		"--ctrl", "type=unixio,path="+filepath.Join(dir, "c"), "--flags", "not-need-init,startup-clear")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	var conn net.Conn
	for range 100 {
		if conn, err = net.Dial("unix", socket); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err != nil {
		t.Fatal(err)
	}
	master, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := term.MakeRaw(int(slave.Fd())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(); slave.Close(); master.Close() })
	go bridge(master, conn)
	return slave.Name()
}

// bridge passes whole commands and responses.
func bridge(unit io.ReadWriter, tpm io.ReadWriter) {
	packet := func(r io.Reader) []byte {
		head := make([]byte, 10)
		if _, err := io.ReadFull(r, head); err != nil {
			return nil
		}
		n := binary.BigEndian.Uint32(head[2:])
		if n < 10 || n > tpmMax {
			return nil
		}
		rest := make([]byte, n-10)
		if _, err := io.ReadFull(r, rest); err != nil {
			return nil
		}
		return append(head, rest...)
	}
	for {
		command := packet(unit)
		if command == nil {
			return
		}
		var response []byte
		for range 50 { // the kernel sends again what the TPM has no time for
			if _, err := tpm.Write(command); err != nil {
				return
			}
			if response = packet(tpm); response == nil || tpm2.TPMRC(binary.BigEndian.Uint32(response[6:])) != tpm2.TPMRCRetry {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		if response == nil {
			return
		}
		unit.Write(response)
	}
}

func TestAQuoteIsTakenThroughAShellAndVerified(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		wire    wire.Config
		applets []string
		octal0  bool
	}{
		"camera's applets": {},
		"echo only":        {octal0: true},
		"a faulty line":    {wire: wire.Config{LoseOneIn: 8000, FlipOneIn: 8000, Seed: 2}},
		"text armour":      {applets: append([]string{"base64"}, cameraApplets...)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCamera(t, random(64<<10), parts(64<<10)...)
			if err := os.Symlink(tpmDevice(t), filepath.Join(c.root, "dev/tpmrm0")); err != nil {
				t.Fatal(err)
			}
			if x.applets != nil {
				c.applets = x.applets
			}
			p, log := c.plug(t, x.wire, Options{Quiet: quick})
			ctx := within(t, time.Minute)
			if err := p.Meet(ctx); err != nil {
				t.Fatalf("%v\n%s", err, log.Take())
			}
			if x.octal0 {
				p.can.octal, p.can.octal0 = "echo -ne ", true
			}
			if x.applets != nil {
				p.can.forms = p.can.forms[len(p.can.forms)-1:]
			}
			tpm := p.TPM(ctx)
			quoteHolds(t, tpm)
			if err := tpm.Close(); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(log.Take()), "\x1b") {
				t.Error("the transcript has an escape")
			}
		})
	}
}

// quoteHolds makes a key, takes a quote over PCR 0 with a nonce and verifies it.
func quoteHolds(t *testing.T, tpm interface{ Send([]byte) ([]byte, error) }) {
	t.Helper()
	template := tpm2.ECCEKTemplate
	template.ObjectAttributes = tpm2.TPMAObject{FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true, Restricted: true, SignEncrypt: true}
	template.AuthPolicy = tpm2.TPM2BDigest{}
	template.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
		Scheme:  tpm2.TPMTECCScheme{Scheme: tpm2.TPMAlgECDSA, Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: tpm2.TPMAlgSHA256})},
		CurveID: tpm2.TPMECCNistP256,
	})
	key, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(template)}.Execute(tpm)
	if err != nil {
		t.Fatal(err)
	}
	nonce := []byte("a nonce that is fresh")
	selection := tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{{Hash: tpm2.TPMAlgSHA256, PCRSelect: tpm2.PCClientCompatible.PCRs(0)}}}
	quote, err := tpm2.Quote{
		SignHandle:     tpm2.AuthHandle{Handle: key.ObjectHandle, Name: key.Name, Auth: tpm2.PasswordAuth(nil)},
		QualifyingData: tpm2.TPM2BData{Buffer: nonce}, PCRSelect: selection,
	}.Execute(tpm)
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.OutPublic.Contents()
	if err != nil {
		t.Fatal(err)
	}
	ec, err := public.Unique.ECC()
	if err != nil {
		t.Fatal(err)
	}
	parms, err := public.Parameters.ECCDetail()
	if err != nil {
		t.Fatal(err)
	}
	curve, err := parms.CurveID.Curve()
	if err != nil {
		t.Fatal(err)
	}
	signature, err := quote.Signature.Signature.ECDSA()
	if err != nil {
		t.Fatal(err)
	}
	size := (curve.Params().BitSize + 7) / 8
	point := append([]byte{4}, make([]byte, 2*size)...) // uncompressed, SEC 1 section 2.3.3
	copy(point[1+size-len(ec.X.Buffer):], ec.X.Buffer)
	copy(point[1+2*size-len(ec.Y.Buffer):], ec.Y.Buffer)
	verifier, err := ecdsa.ParseUncompressedPublicKey(curve, point)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(quote.Quoted.Bytes())
	if !ecdsa.Verify(verifier, sum[:], new(big.Int).SetBytes(signature.SignatureR.Buffer), new(big.Int).SetBytes(signature.SignatureS.Buffer)) {
		t.Fatal("the quote's signature does not verify")
	}
	attested, err := quote.Quoted.Contents()
	if err != nil || !bytes.Equal(attested.ExtraData.Buffer, nonce) {
		t.Fatalf("the quote is not over the nonce (%v)", err)
	}
	pcrs, err := tpm2.PCRRead{PCRSelectionIn: selection}.Execute(tpm)
	if err != nil {
		t.Fatal(err)
	}
	info, err := attested.Attested.Quote()
	if err != nil {
		t.Fatal(err)
	}
	h := crypto.SHA256.New()
	for _, d := range pcrs.PCRValues.Digests {
		h.Write(d.Buffer)
	}
	if !bytes.Equal(h.Sum(nil), info.PCRDigest.Buffer) {
		t.Error("the quote is not over the PCR that was read")
	}
	if _, err := (tpm2.FlushContext{FlushHandle: key.ObjectHandle}).Execute(tpm); err != nil {
		t.Error(err)
	}
}

func TestATPMsCommandThatChangesItIsNotSent(t *testing.T) {
	t.Parallel()
	tpm := New(nil, Options{}).TPM(t.Context()) // a nil line: nothing may be sent
	for name, command := range map[string][]byte{
		"TPM2_Clear":        {0x80, 2, 0, 0, 0, 27, 0, 0, 1, 0x26, 0x40, 0, 0, 0xc, 0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0},
		"TPM2_Startup":      {0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x44, 0, 0},
		"a false length":    {0x80, 1, 0, 0, 0, 13, 0, 0, 1, 0x7b, 0, 4},
		"nothing":           {},
		"a vendor's":        {0x80, 1, 0, 0, 0, 10, 0x20, 0, 0, 0},
		"TPM2_EvictControl": {0x80, 1, 0, 0, 0, 10, 0, 0, 1, 0x20},
		"TPM2_PCR_Extend":   {0x80, 1, 0, 0, 0, 10, 0, 0, 1, 0x82},
		"TPM2_NV_Write":     {0x80, 1, 0, 0, 0, 10, 0, 0, 1, 0x37},
	} {
		if _, err := tpm.Send(command); err == nil || !strings.Contains(err.Error(), "not sent") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAUnitWithoutATPMSaysSoAndGetsNoFile(t *testing.T) {
	t.Parallel()
	c := newCamera(t, random(64<<10), parts(64<<10)...)
	p, _ := c.plug(t, wire.Config{}, Options{Quiet: quick})
	_, err := (tpm2.GetRandom{BytesRequested: 8}).Execute(p.TPM(within(t, 20*time.Second)))
	if !errors.Is(err, devices.ErrAccess) {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(filepath.Join(c.root, "dev/tpmrm0")); err == nil {
		t.Error("the device's path was made")
	}
}
