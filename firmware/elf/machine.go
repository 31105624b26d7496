package elf

import (
	"encoding/binary"
	"fmt"
)

// Type is e_type.
type Type uint16

// The types of files.
const (
	Relocatable Type = 1 // an object, or a kernel module
	Executable  Type = 2 // at a fixed address
	Shared      Type = 3 // a library, or a program that runs at any address
	Core        Type = 4
)

func (t Type) String() string {
	switch t {
	case Relocatable:
		return "relocatable"
	case Executable:
		return "executable"
	case Shared:
		return "shared"
	case Core:
		return "core"
	}
	return fmt.Sprintf("type %d", uint16(t))
}

// Machine is e_machine.
type Machine uint16

// machines are the processors that cameras and their tools have, by the
// registry of the gABI.
var machines = map[Machine]string{
	2: "sparc", 3: "386", 4: "m68k", 8: "mips", 20: "ppc", 21: "ppc64", 22: "s390x", 40: "arm", 42: "sh", 43: "sparc64", 45: "arc",
	50: "ia64", 62: "x86-64", 76: "cris", 88: "m32r", 92: "or1k", 93: "arc-compact", 94: "xtensa", 106: "blackfin", 113: "nios2",
	140: "tic6000", 167: "nds32", 183: "aarch64", 189: "microblaze", 195: "arc-compact2", 243: "riscv", 247: "bpf", 252: "csky", 258: "loongarch",
}

func (m Machine) String() string {
	if name, ok := machines[m]; ok {
		return name
	}
	return fmt.Sprintf("machine %d", uint16(m))
}

// Arch names the machine with its word size and byte order, where they vary, as
// GNU triplets do: "arm", "armeb", "mipsel", "mips64", "riscv64", "aarch64".
func (f *File) Arch() string {
	name := f.Machine.String()
	little := f.Order == binary.LittleEndian
	switch name {
	case "mips":
		if f.Bits == 64 {
			name += "64"
		}
		if little {
			name += "el"
		}
	case "arm":
		if !little {
			name += "eb"
		}
	case "aarch64":
		if !little {
			name += "_be"
		}
	case "ppc64":
		if little {
			name += "le"
		}
	case "sh":
		if !little {
			name += "eb"
		}
	case "arc", "arc-compact", "arc-compact2", "xtensa", "microblaze":
		if !little {
			name += "-big-endian"
		}
	case "riscv", "loongarch":
		name += fmt.Sprint(f.Bits)
	}
	return name
}
