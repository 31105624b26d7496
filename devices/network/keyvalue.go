package network

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Answers in lines of key=value, which half of the makers have, and what JSON of
// cameras needs before it can be read.

// maxLines bounds an answer of key=value lines. All Axis properties have some 200; the
// cameras of a recorder with 256 channels, some 5000.
const maxLines = 32768

// keyValues reads lines of key=value, ended by CRLF or LF, and drops the rest.
// A key that comes again keeps its first value.
func keyValues(body []byte) map[string]string {
	found := map[string]string{}
	for range maxLines {
		line, rest, more := bytes.Cut(body, []byte("\n"))
		key, value, ok := strings.Cut(string(bytes.Trim(line, "\x00 \r\t")), "=")
		key, value = strings.TrimSpace(key), unquoted(strings.TrimSpace(value))
		if _, twice := found[key]; ok && key != "" && !twice && !strings.ContainsAny(key, "<>{}") {
			found[key] = value
		}
		if !more {
			break
		}
		body = rest
	}
	return found
}

func unquoted(v string) string {
	if u, err := strconv.Unquote(v); err == nil && strings.HasPrefix(v, `"`) {
		return u
	}
	return v
}

// trimJSON takes off what firmware leaves around JSON: Xiongmai and others end it
// with a newline and a NUL.
func trimJSON(body []byte) []byte {
	return bytes.Trim(bytes.TrimPrefix(body, []byte(byteOrderMark)), "\x00 \r\n\t")
}

// names are those of an answer's fields, sorted: whose protocol it is shows in them.
func names(found map[string]string) string {
	return strings.Join(slices.Sorted(maps.Keys(found)), ",")
}

// flatJSON reads one object of plain values into names and texts; keys and values
// lose the blanks that firmware leaves at their ends.
func flatJSON(body []byte) (map[string]string, bool) {
	var object map[string]any
	d := json.NewDecoder(bytes.NewReader(trimJSON(body)))
	d.UseNumber()
	if d.Decode(&object) != nil {
		return nil, false
	}
	return flat(object), true
}

func flat(object map[string]any) map[string]string {
	found := map[string]string{}
	for k, v := range object {
		switch v := v.(type) {
		case string:
			found[strings.TrimSpace(k)] = strings.TrimSpace(v)
		case json.Number:
			found[strings.TrimSpace(k)] = v.String()
		case bool:
			found[strings.TrimSpace(k)] = strconv.FormatBool(v)
		}
	}
	return found
}
