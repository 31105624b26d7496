package register

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"assay/attest/permit"
	"assay/internal/durable"
)

// Names of the files that Export makes beside those of [permit.Permit.Write].
const (
	EvidenceFile    = "evidence.json"
	ResultFile      = "result.json"
	ArtefactsFolder = "artefacts" // files named by the hexadecimal digits of their digest
)

// Export writes a permit and everything under it into dir, the permit last: a
// folder that has it is complete.
func (r *Register) Export(ctx context.Context, id, dir string) error {
	g, err := r.Get(ctx, id)
	if err != nil {
		return err
	}
	if err := r.export(ctx, g, dir); err != nil {
		return fmt.Errorf("register: export permit %s: %w", g.ID, explain(err))
	}
	return nil
}

func (r *Register) export(ctx context.Context, g *Registered, dir string) error {
	folder := filepath.Join(dir, ArtefactsFolder)
	if err := durable.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if len(g.Artefacts) > 0 {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
	}
	for _, a := range g.Artefacts {
		fill := func(w io.Writer) error { return r.blobs.copy(ctx, w, a.Digest) }
		if err := durable.Write(filepath.Join(folder, a.Digest.Hex()), 0o644, fill); err != nil {
			return err
		}
	}
	for name, b := range map[string][]byte{EvidenceFile: g.Evidence, ResultFile: g.Result} {
		if err := durable.Write(filepath.Join(dir, name), 0o644, durable.Bytes(b)); err != nil {
			return err
		}
	}
	p, err := permit.Read(g.Bundle)
	if err != nil {
		return err
	}
	return p.Write(dir)
}
