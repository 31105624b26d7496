package shell

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	"assay/devices"
)

const (
	textMax   = 256 << 10 // bytes of one answer, unpacked
	fetchings = 6         // tries until an answer that the line spoils is given up
)

// fetch returns what atoms print. With a packed form the unit's own checksum
// vouches for it; otherwise it came twice alike.
func (p *Prompt) fetch(ctx context.Context, atoms []string, tries int) ([]byte, error) {
	f := p.can.form()
	need := 1
	if !f.packed {
		need = 2
	}
	var last error = errGarbled
	var seen [][]byte
	for range tries * need {
		r := &request{max: f.lineMax(textMax), plain: !f.packed && f.armour == nil}
		r.add("0", "{ ")
		r.atoms = append(r.atoms, atoms...)
		r.atoms = append(r.atoms, "} 2>/dev/null"+f.pipe()+";")
		var got []byte
		arrived := false
		r.each = func(fr frame) error {
			if fr.tag != "0" || arrived {
				return nil
			}
			b, err := f.decode(fr, textMax)
			if err != nil {
				last = err
				return nil
			}
			got, arrived = b, true
			return nil
		}
		if _, err := p.ask(ctx, r); err != nil && !errors.Is(err, errGarbled) {
			return nil, err
		} else if err != nil {
			last = err
		}
		if !arrived {
			continue
		}
		alike := 1
		for _, b := range seen {
			if bytes.Equal(b, got) {
				alike++
			}
		}
		if alike >= need {
			return got, nil
		}
		seen = append(seen, got)
	}
	return nil, fmt.Errorf("%s: asked %d times: %w: %w", p.line.Name, tries*need, devices.ErrMalformed, last)
}

// readFiles returns the files of some patterns that exist, by their names. A
// group that the line spoils again and again is asked for in halves.
func (p *Prompt) readFiles(ctx context.Context, patterns []string) (map[string]string, error) {
	tries := fetchings
	if len(patterns) > 1 {
		tries = 3
	}
	token := newToken()
	b, err := p.fetch(ctx, p.catAll(patterns, token), tries)
	if err != nil && errors.Is(err, devices.ErrMalformed) && len(patterns) > 1 {
		half := len(patterns) / 2
		all, err := p.readFiles(ctx, patterns[:half])
		if err != nil {
			return all, err
		}
		more, err := p.readFiles(ctx, patterns[half:])
		maps.Copy(all, more)
		return all, err
	}
	if err != nil {
		return map[string]string{}, err
	}
	return p.cutFiles(b, token), nil
}

// catAll are atoms that print each file behind a line with its name.
func (p *Prompt) catAll(patterns []string, token [2]string) []string {
	body := ";do [ -f $f ]&&{ echo;echo '" + token[0] + "''" + token[1] + "'$f;cat $f;};done;"
	var atoms []string
	names := ""
	for i, pattern := range patterns {
		names += " " + p.path(pattern)
		if i == len(patterns)-1 || len(names)+len(p.path(patterns[i+1])) > 120 {
			atoms = append(atoms, "for f in"+names+body)
			names = ""
		}
	}
	return atoms
}

// filesMax is more files than any unit has at the places that are read.
const filesMax = 2048

// cutFiles undoes catAll.
func (p *Prompt) cutFiles(b []byte, token [2]string) map[string]string {
	all := map[string]string{}
	parts := strings.Split(string(b), "\n"+token[0]+token[1])
	for _, part := range parts[1:] {
		name, content, ok := strings.Cut(part, "\n")
		name, inRoot := strings.CutPrefix(name, p.o.Root)
		if !ok || !inRoot || len(all) >= filesMax || !strings.HasPrefix(name, "/") {
			continue
		}
		all[name] = content
	}
	return all
}

const (
	sliceLines = 60 // lines of the kernel's log in one piece
	slicesMax  = 100
)

// readDmesg returns the kernel's log: whole or, over a line that spoils long
// answers, in pieces.
func (p *Prompt) readDmesg(ctx context.Context) ([]byte, error) {
	b, err := p.fetch(ctx, []string{"dmesg;"}, 2)
	if err == nil || !errors.Is(err, devices.ErrMalformed) || !p.can.sed {
		return b, err
	}
	var all []byte
	for i := range slicesMax {
		from := i*sliceLines + 1
		b, err := p.fetch(ctx, []string{fmt.Sprintf("dmesg|sed -n '%d,%dp';", from, from+sliceLines-1)}, fetchings)
		if err != nil {
			return all, err
		}
		if len(b) == 0 {
			return all, nil
		}
		all = append(all, b...)
	}
	return all, nil
}
