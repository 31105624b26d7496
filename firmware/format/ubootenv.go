package format

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"sync"

	"assay/firmware"
	"assay/firmware/internal/blank"
)

// environment is U-Boot's saved environment: a CRC-32, in the redundant form a
// flag byte, then name=value strings that end with an empty one. It has no
// magic and does not say its size. A candidate must start with a variable; the
// CRC, which covers the unused rest as well, then tells the size.
var environment = firmware.Format{
	Name:   environmentName,
	Source: "U-Boot include/env_internal.h, struct environment_s; env/common.c",
	Every:  512,
	Parse:  parseEnvironment,

	About:        "U-Boot environment",
	Integrity:    "CRC-32 of the variables",
	Authenticity: "none",
	Adopt:        adoptEnvironments,
}

const environmentName = "u-boot-env"

const (
	envMinSize = 0x400
	envMaxSize = 0x40000 // CONFIG_ENV_SIZE of flash boards is 4 KiB to 256 KiB
	envStep    = 0x200   // what sizes are multiples of, but for a few boards
	envMaxName = 128
	envFirst   = 8192 // the first variable ends in here
	envFlag    = "redundant copy flag"
)

func parseEnvironment(w *firmware.Window) (*firmware.Region, error) {
	head, err := w.Peek(0, 16)
	if err != nil || !mayStartVariable(head) {
		return nil, errNoVariable
	}
	if head, err = w.Peek(0, min(w.Size(), 5+envMaxName)); err != nil {
		return nil, errNoVariable
	}
	for _, start := range []int{4, 5} {
		if !startsVariable(head[start:]) {
			continue
		}
		size, order, err := environmentSize(w, int64(start), head)
		if err != nil {
			return nil, err
		}
		if size > 0 {
			return provenEnvironment(w, int64(start), size, order)
		}
		return brokenEnvironment(w, int64(start))
	}
	return nil, errNoVariable
}

// errNoVariable is made once: it is the answer at nearly every sector.
var errNoVariable = notFormat("u-boot-env: no variable at the start")

// mayStartVariable tells cheaply whether one of the two header forms can be
// followed by a variable.
func mayStartVariable(head []byte) bool {
	name := func(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' }
	return name(head[4]) || name(head[5])
}

// startsVariable wants a name of two letters or more as U-Boot's are, its equals
// sign, and text as far as can be seen: on encrypted bytes, what follows costs.
func startsVariable(b []byte) bool {
	name, value, ok := bytes.Cut(b, []byte{'='})
	if !ok || len(name) < 2 {
		return false
	}
	for i, c := range name {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '_', i > 0 && (c >= '0' && c <= '9' || strings.IndexByte(".-+,/#", c) >= 0):
		default:
			return false
		}
	}
	value, _, _ = bytes.Cut(value, []byte{0})
	return !bytes.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0x7f || r == '\uFFFD' })
}

// envBuffers are for what may be an environment, which is a few times in a kernel.
var envBuffers = sync.Pool{New: func() any { return new([envMaxSize]byte) }}

// environmentSize extends a CRC over growing sizes until it is the stored one,
// which boards of either byte order store in theirs. It returns 0 when it never
// is. At a size that is no multiple of 512 it must also end in padding, so that
// trying each size does not find one by chance.
func environmentSize(w *firmware.Window, start int64, head []byte) (int64, binary.ByteOrder, error) {
	limit := min(w.Size(), envMaxSize)
	b, err := w.Peek(0, min(limit, envFirst))
	if err != nil || bytes.IndexByte(b[start:], 0) < 0 {
		// Text files look alike up to here, but have no terminators; they are
		// turned down before 256 KiB are read at each of their sectors.
		return 0, nil, err
	}
	buf := envBuffers.Get().(*[envMaxSize]byte)
	defer envBuffers.Put(buf)
	b = buf[:limit]
	if _, err := w.ReadAt(b, 0); err != nil && err != io.EOF {
		return 0, nil, err
	}
	end := bytes.Index(b[start:], []byte{0, 0})
	if end < 0 {
		return 0, nil, nil
	}
	little, big := binary.LittleEndian.Uint32(head), binary.BigEndian.Uint32(head)
	used := start + int64(end) + 2
	size := max(used, envMinSize)
	if size > limit {
		return 0, nil, nil
	}
	padding := used // where it ends
	if rest := b[used:limit]; len(rest) > 0 && (rest[0] == 0 || rest[0] == 0xff) {
		padding += int64(blank.Run(rest, rest[0]))
	}
	sum := crc32.ChecksumIEEE(b[start:size])
	for {
		if sum == little && (size%envStep == 0 || size <= padding) {
			return size, binary.LittleEndian, nil
		}
		if sum == big && (size%envStep == 0 || size <= padding) {
			return size, binary.BigEndian, nil
		}
		next := size + 1
		if size >= padding {
			next = (size/envStep + 1) * envStep
		}
		if next > limit {
			return 0, nil, nil
		}
		if next == size+1 {
			sum = ^(crc32.IEEETable[byte(^sum)^b[size]] ^ ^sum>>8)
		} else {
			sum = crc32.Update(sum, crc32.IEEETable, b[size:next])
		}
		size = next
	}
}

func provenEnvironment(w *firmware.Window, start, size int64, order binary.ByteOrder) (*firmware.Region, error) {
	b, err := w.Bytes(0, size)
	if err != nil {
		return nil, err
	}
	r := &firmware.Region{Size: size, Role: firmware.RoleEnvironment, State: firmware.Proven}
	r.AddCheck("environment CRC-32", true, "%08x over %d bytes", order.Uint32(b), size-start)
	if order == binary.BigEndian {
		r.AddField("byte order of the CRC", "%s", order)
	}
	if start == 5 {
		r.AddField(envFlag, "%d", b[4])
	}
	listVariables(b[start:], r)
	return r, nil
}

// brokenEnvironment reports an environment whose CRC holds at no size, if it
// begins a flash sector and holds variables that every board has: U-Boot boots
// with its compiled-in one then.
func brokenEnvironment(w *firmware.Window, start int64) (*firmware.Region, error) {
	if w.Offset()%envMinBroken != 0 {
		return nil, notFormat("u-boot-env: the CRC holds at no size")
	}
	b, err := w.Bytes(0, min(w.Size(), envMaxSize))
	if err != nil {
		return nil, err
	}
	end := bytes.Index(b[start:], []byte{0, 0})
	if end < 0 {
		return nil, notFormat("u-boot-env: the variables do not end")
	}
	vars := b[start : start+int64(end)+1]
	usual := 0
	for _, name := range []string{"bootcmd=", "bootargs=", "bootdelay=", "baudrate="} {
		if bytes.HasPrefix(vars, []byte(name)) || bytes.Contains(vars, []byte("\x00"+name)) {
			usual++
		}
	}
	if usual < 2 {
		return nil, notFormat("u-boot-env: the CRC holds at no size and the variables are not U-Boot's")
	}
	r := &firmware.Region{Size: start + int64(end) + 2, Role: firmware.RoleEnvironment, State: firmware.Opaque}
	r.AddCheck("environment CRC-32", false, "%08x holds at no size from %d to %d", binary.LittleEndian.Uint32(b), envMinSize, envMaxSize)
	if start == 5 {
		r.AddField(envFlag, "%d", b[4])
	}
	r.AddProblem("the CRC-32 does not hold: U-Boot does not use this environment, or its size is unusual")
	listVariables(vars, r)
	return r, nil
}

const (
	envMinBroken = 4096
	maxVariables = 512
	maxVarValue  = 4096
)

// listVariables makes fields of the variables. Values that are secrets by their
// name are withheld, since fields end up in evidence.
func listVariables(b []byte, r *firmware.Region) {
	seen := make(map[string]bool)
	for n := 0; len(b) > 0 && b[0] != 0; n++ {
		if n == maxVariables {
			r.AddProblem("more than %d variables; the rest is not listed", maxVariables)
			return
		}
		v, rest, ended := bytes.Cut(b, []byte{0})
		name, value, ok := strings.Cut(string(v), "=")
		switch {
		case !ended:
			r.AddProblem("variable %q does not end", printable(name[:min(len(name), envMaxName)]))
			return
		case !ok || len(name) > envMaxName:
			r.AddProblem("%q is no variable", printable(string(v[:min(len(v), envMaxName)])))
		default:
			if seen[name] {
				r.AddProblem("variable %q stands twice; U-Boot takes the last", printable(name))
			}
			seen[name] = true
			r.Fields = append(r.Fields, firmware.Field{Name: printable(name), Value: publicValue(name, value)})
		}
		b = rest
	}
}

func publicValue(name, value string) string {
	lower := strings.ToLower(name)
	for _, word := range []string{"pass", "pwd", "secret", "psk", "token", "wifi_key", "wpa_key", "wepkey", "private"} {
		if strings.Contains(lower, word) {
			return fmt.Sprintf("(%d bytes withheld)", len(value))
		}
	}
	return printable(value[:min(len(value), maxVarValue)])
}
