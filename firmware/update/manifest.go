package update

import (
	"bufio"
	"bytes"
	"strconv"
	"strings"

	"assay/firmware"
)

// manifest is a RAUC manifest: groups of key=value lines, as GLib's key files
// are. RAUC docs/reference.rst, section Manifest.
type manifest struct {
	groups []*manifestGroup
	byName map[string]*manifestGroup
}

type manifestGroup struct {
	name   string
	keys   []string
	values map[string]string
}

const maxManifestLines = 4096

func parseManifest(b []byte) *manifest {
	m := &manifest{byName: make(map[string]*manifestGroup)}
	group := ""
	lines := bufio.NewScanner(bytes.NewReader(b))
	lines.Buffer(nil, maxSmall)
	for n := 0; n < maxManifestLines && lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if name, ok := strings.CutPrefix(line, "["); ok {
			group = strings.TrimSuffix(name, "]")
			m.group(group)
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if ok && group != "" && !strings.HasPrefix(line, "#") {
			m.set(group, strings.TrimSpace(key), strings.TrimSpace(value))
		}
	}
	return m
}

func (m *manifest) group(name string) *manifestGroup {
	g := m.byName[name]
	if g == nil {
		g = &manifestGroup{name: name, values: make(map[string]string)}
		m.groups, m.byName[name] = append(m.groups, g), g
	}
	return g
}

func (m *manifest) set(group, key, value string) {
	g := m.group(group)
	if _, ok := g.values[key]; !ok {
		g.keys = append(g.keys, key)
	}
	g.values[key] = value
}

func (m *manifest) value(group, key string) string {
	if g := m.byName[group]; g != nil {
		return g.values[key]
	}
	return ""
}

func (m *manifest) number(group, key string) (int64, error) {
	return strconv.ParseInt(m.value(group, key), 10, 64)
}

// format is plain, verity or crypt. A manifest that has an update group but no
// format is of a plain bundle.
func (m *manifest) format() string {
	switch f := m.value("bundle", "format"); f {
	case "plain", "verity", "crypt":
		return f
	}
	return ""
}

// describe lists what the bundle is for. Keys are secrets and are not listed.
func (m *manifest) describe(r *firmware.Region) {
	for _, key := range []string{"compatible", "version", "description", "build"} {
		r.AddField(key, "%s", printable(m.value("update", key)))
	}
	r.Name = printable(m.value("update", "compatible"))
	listed := 0
	for _, g := range m.groups {
		if g.name == "update" || g.name == "bundle" {
			continue
		}
		var words []string
		for _, key := range g.keys {
			words = append(words, key+"="+g.values[key])
		}
		if listed++; listed > maxListed {
			r.AddProblem("the manifest has more than %d groups; the rest is not listed", maxListed)
			return
		}
		text := printable(strings.Join(words, " "))
		r.AddField(printable(g.name), "%s", text[:min(len(text), 1024)])
	}
}

// manifestImage is a file that the manifest has a hash of.
type manifestImage struct{ name, file, sha256 string }

func (m *manifest) images() []manifestImage {
	var list []manifestImage
	for _, g := range m.groups {
		if strings.HasPrefix(g.name, "image.") && g.values["filename"] != "" && g.values["sha256"] != "" {
			list = append(list, manifestImage{g.name, g.values["filename"], g.values["sha256"]})
		}
	}
	return list
}
