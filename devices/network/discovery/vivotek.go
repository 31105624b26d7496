package discovery

// vivotek is the search of VIVOTEK cameras: to UDP 10000, a session byte and a
// magic number; the answer is both and then fields of type, length and value,
// but type 4, which is one byte (UniversalScanner Vivotek.cs).
var vivotek = &protocol{
	name: "vivotek", broadcast: true,
	requests: []*request{{protocol: "vivotek", asks: "search", port: 10000, head: bytesOf(1, vivotekMagic)}},
	read:     readVivotek,
}

const vivotekMagic = uint32(0x4a5d8f1c)

func readVivotek(r *reading) error {
	b := record(r.b)
	if len(b) < 5 || string(b[1:5]) != bytesOf(vivotekMagic) || len(b) == 5 {
		return errNotOurs
	}
	a := r.answer(KindCamera)
	a.spoke("fields")
	for i := 5; i+1 < len(b); {
		kind, size := b[i], int(b[i+1])
		i += 2
		if kind == 4 { // its length is its value
			continue
		}
		if kind == 0 || i+size > len(b) {
			return malformed("vivotek: a field of type %d and %d bytes runs past the end", kind, size)
		}
		v := record(b[i : i+size])
		i += size
		switch kind {
		case 1:
			a.label(string(v), "field 1")
		case 2:
			a.mac(v.macText(0), "field 2")
		case 3:
			a.address(v.ipText(0), "field 3")
		case 9:
			a.model(string(v), "field 9")
		}
	}
	return nil
}
