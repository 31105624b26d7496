package main

import (
	"fmt"
	"io"
	"time"

	"assay/attest"
	"assay/attest/station"
)

type mediaOutput struct {
	Schema      string             `json:"schema"`
	File        string             `json:"file"`
	Digest      attest.Digest      `json:"digest"`
	Endorsement attest.Endorsement `json:"endorsement"`
	Codec       string             `json:"codec"`
	Slices      mediaCounts        `json:"slices"`
	From        *time.Time         `json:"from,omitempty"` // by the unit's clock
	To          *time.Time         `json:"to,omitempty"`
	Firmware    string             `json:"firmware,omitempty"` // what the unit says in what it signed
	Serial      string             `json:"serial,omitempty"`
	Maker       string             `json:"manufacturer,omitempty"`
	ByOperator  bool               `json:"operatorKey"`
}

// mediaCounts are slices of pictures.
type mediaCounts struct {
	Verified int `json:"verified"`
	Altered  int `json:"altered"`
	Missing  int `json:"missing"`
	Unsigned int `json:"unsigned"`
	Outside  int `json:"outsideFormat"`
}

func (a *app) verifyMedia(home station.Home, file, model string) error {
	m, digest, err := home.VerifyMedia(file, model, time.Now())
	if err != nil {
		return err
	}
	doc := mediaOutput{
		Schema: cliSchema("verify-media"), File: file, Digest: digest, Endorsement: m.Endorsement, Codec: m.Codec,
		Slices:   mediaCounts{m.Verified, m.Altered, m.Missing, m.Open, m.Outside},
		Firmware: m.Firmware, Serial: m.Serial, Maker: m.Maker, ByOperator: m.ByOperator,
	}
	if !m.From.IsZero() {
		doc.From, doc.To = &m.From, &m.To
	}
	err = a.print(doc, func(w io.Writer) {
		fmt.Fprintf(w, "%s\n%s\n", doc.File, doc.Digest)
		heading(w, "Signed video")
		printEndorsement(w, doc.Endorsement)
		s := doc.Slices
		fmt.Fprintf(w, "  %s slices: %d verified, %d altered, %d missing, %d unsigned, %d outside the format\n", doc.Codec, s.Verified, s.Altered, s.Missing, s.Unsigned, s.Outside)
		if doc.Maker+doc.Serial+doc.Firmware != "" {
			fmt.Fprintf(w, "  says in what it signed: manufacturer %q, serial number %q, firmware %q\n", doc.Maker, doc.Serial, doc.Firmware)
		}
	})
	if err != nil {
		return err
	}
	return endorsed([]attest.Endorsement{m.Endorsement})
}

type reportOutput struct {
	Schema      string             `json:"schema"`
	File        string             `json:"file"`
	Endorsement attest.Endorsement `json:"endorsement"`
}

func (a *app) verifyReport(home station.Home, report, key, chain, model string) error {
	e, err := home.VerifyReport(report, key, chain, model, time.Now())
	if err != nil {
		return err
	}
	doc := reportOutput{cliSchema("verify-report"), report, *e}
	err = a.print(doc, func(w io.Writer) {
		fmt.Fprintln(w, doc.File)
		heading(w, "Attestation report")
		printEndorsement(w, doc.Endorsement)
	})
	if err != nil {
		return err
	}
	return endorsed([]attest.Endorsement{*e})
}
