package inventory

import (
	"path"
	"slices"
	"strings"
)

// Databases of package managers: dpkg and opkg keep Debian control paragraphs
// (Debian Policy 5.1; deb-control(5)), apk one-letter fields (apk-tools
// doc/apk-v2.5). The few lines are our own: pault.ag/go/debian reads such
// paragraphs by reflection and brings in OpenPGP, XZ and Zstandard with them,
// osv-scalibr and syft bring in hundreds of modules, and none of them is bounded
// for a hostile file. RPM databases are told and not read: those are whole data
// base files (Berkeley DB, SQLite), and no camera was seen with one.

const maxDatabase = 16 << 20

func (p *pass) packages() {
	parts := strings.Split(p.where, "/")
	folder := ""
	if len(parts) > 1 {
		folder = parts[len(parts)-2]
	}
	switch {
	case p.base == "status" && (folder == "dpkg" || folder == "opkg"):
		p.control(folder)
	case folder == "status.d" && !strings.Contains(p.base, "."):
		p.control("dpkg")
	case path.Ext(p.base) == ".control" && folder == "info":
		p.control("opkg")
	case p.base == "installed" && folder == "db":
		p.apk()
	case folder == "rpm" && slices.Contains([]string{"Packages", "Packages.db", "rpmdb.sqlite"}, p.base):
		p.problem("the RPM database is not read")
	}
}

// control reads paragraphs of Field: value lines.
func (p *pass) control(manager string) {
	one := Package{Manager: manager}
	status := ""
	end := func() {
		// "deinstall ok config-files" is what a removed package leaves behind.
		if one.Name != "" && one.Version != "" && (status == "" || strings.HasSuffix(status, " installed")) {
			p.addPackage(one)
		}
		one, status = Package{Manager: manager}, ""
	}
	for at, line := range lines(p.text(maxDatabase)) {
		if strings.TrimSpace(line) == "" {
			end()
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t") {
			continue
		}
		value = strings.TrimSpace(value)
		switch strings.ToLower(name) {
		case "package":
			one.Name, one.Offset = word(value), at.offset
		case "version":
			one.Version = word(value)
		case "architecture":
			one.Architecture = word(value)
		case "license":
			one.License = word(value)
		case "status":
			status = word(value)
		}
	}
	end()
}

func (p *pass) apk() {
	one := Package{Manager: "apk"}
	end := func() {
		if one.Name != "" && one.Version != "" {
			p.addPackage(one)
		}
		one = Package{Manager: "apk"}
	}
	for at, line := range lines(p.text(maxDatabase)) {
		if line == "" {
			end()
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		switch name {
		case "P":
			one.Name, one.Offset = word(value), at.offset
		case "V":
			one.Version = word(value)
		case "A":
			one.Architecture = word(value)
		case "L":
			one.License = word(value)
		}
	}
	end()
}

func (p *pass) addPackage(one Package) {
	if len(p.report.Packages) <= maxPackages {
		one.Path = p.where
		p.report.Packages = append(p.report.Packages, one)
	}
}
