package station

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"assay/attest"
	"assay/attest/provenance"
)

// VerifyMedia verifies a recording of signed video against the trust store.
func (h Home) VerifyMedia(path, model string, now time.Time) (*provenance.Media, attest.Digest, error) {
	trust, err := h.Trust()
	if err != nil {
		return nil, "", err
	}
	b, err := readBounded(path, provenance.MaxRecording)
	if err != nil {
		return nil, "", err
	}
	m, err := provenance.VerifyMedia(filepath.Base(path), b, trust.Anchors(), model, now)
	return m, attest.DigestOf(b), err
}

// VerifyReport verifies an Axis attestation report over a key, with the
// certificates of the chip that made it, against the trust store.
func (h Home) VerifyReport(report, key, chain, model string, now time.Time) (*attest.Endorsement, error) {
	trust, err := h.Trust()
	if err != nil {
		return nil, err
	}
	raw, err := readBounded(report, provenance.MaxDocument)
	if err != nil {
		return nil, err
	}
	keyText, err := readBounded(key, provenance.MaxDocument)
	if err != nil {
		return nil, err
	}
	attested, err := provenance.ParsePublicKey(keyText)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	chainText, err := readBounded(chain, provenance.MaxDocument)
	if err != nil {
		return nil, err
	}
	certs, err := provenance.ParseChain(chainText)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", chain, err)
	}
	e := provenance.VerifyEdgeVault(filepath.Base(report), raw, attested, certs, trust.Anchors(), model, nil, nil, now)
	return &e, nil
}

func readBounded(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("%s: over %d MiB", path, most>>20)
	}
	return b, err
}
