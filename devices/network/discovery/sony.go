package discovery

import "strings"

// sony is the search of Sony cameras: to UDP 2380, the line ENQ:allinfo between
// the bytes 2 and 3; the answer has lines of name and value that end with 255
// (UniversalScanner Sony.cs).
var sony = &protocol{
	name: "sony", broadcast: true,
	requests: []*request{{protocol: "sony", asks: "ENQ:allinfo", port: 2380, head: "\x02ENQ:allinfo\xff\x03"}},
	read:     readSony,
}

func readSony(r *reading) error {
	b := r.b
	if len(b) < 3 || b[0] != 2 || b[len(b)-1] != 3 {
		return errNotOurs
	}
	values := map[string]string{}
	for _, line := range strings.Split(string(b[1:len(b)-1]), "\xff") {
		name, value, ok := strings.Cut(line, ":")
		if ok && len(values) < 100 {
			values[strings.ToUpper(strings.TrimSpace(name))] = value
		}
	}
	if _, question := values["ENQ"]; question {
		return errNotOurs
	}
	if values["MODEL"] == "" && values["MAC"] == "" {
		return malformed("sony: neither MODEL nor MAC")
	}
	a := r.answer(KindCamera)
	a.spoke("lines")
	a.model(values["MODEL"], "MODEL")
	a.setSerial(values["SERIAL"], "SERIAL")
	a.mac(values["MAC"], "MAC")
	a.address(values["IPADR"], "IPADR")
	a.firmware(values["SOFTVERSION"], "SOFTVERSION")
	a.label(values["NAME"], "NAME")
	return nil
}
