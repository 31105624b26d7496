package discovery

import (
	"regexp"
	"strings"
)

// vision360 is the search of 360 Vision Technology: to UDP 3600, the line
// DISCOVER; the answer is that word and names with values (UniversalScanner
// 360Vision.cs).
var vision360 = &protocol{
	name: "360vision", broadcast: true, listen: []int{3600},
	requests: []*request{{protocol: "360vision", asks: "DISCOVER", port: 3600, head: "DISCOVER\n"}},
	read:     readVision360,
}

var vision360Pair = regexp.MustCompile(`([A-Za-z_][A-Za-z0-9_]*)=('[^']*'|"[^"]*"|[^ ]*)`)

func readVision360(r *reading) error {
	line, _, _ := strings.Cut(string(r.b[:min(len(r.b), 2048)]), "\n")
	rest, ok := strings.CutPrefix(strings.TrimSpace(line), "DISCOVER ")
	if !ok {
		return errNotOurs
	}
	values := map[string]string{}
	for _, m := range vision360Pair.FindAllStringSubmatch(rest, 40) {
		values[strings.ToUpper(m[1])] = strings.Trim(m[2], `'"`)
	}
	if values["TYPE"] == "" && values["KEY"] == "" {
		return malformed("360vision: neither TYPE nor KEY")
	}
	a := r.answer(KindCamera)
	a.spoke("pairs")
	a.model(values["TYPE"], "TYPE")
	a.mac(values["KEY"], "KEY")
	a.setSerial(values["ID"], "ID")
	return nil
}
