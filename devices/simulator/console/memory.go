package console

import "fmt"

// memory is what the unit's processor sees: mapped flash and RAM.
type memory struct {
	nor   [][]byte
	flash []Flash
	ram   Range
	pages map[uint64][]byte
}

const pageSize = 4 << 10

// read copies memory at address. Unmapped addresses read as zero.
func (m *memory) read(address uint64, b []byte) {
	for i := range b {
		b[i] = m.at(address + uint64(i))
	}
}

func (m *memory) at(address uint64) byte {
	for i, f := range m.flash {
		if address >= f.Address && address-f.Address < uint64(len(m.nor[i])) {
			return m.nor[i][address-f.Address]
		}
	}
	if page := m.pages[address/pageSize]; page != nil {
		return page[address%pageSize]
	}
	return 0
}

// write changes RAM, and RAM only.
func (m *memory) write(address uint64, b []byte) error {
	if address < m.ram.Start || uint64(len(b)) > m.ram.Size || address-m.ram.Start > m.ram.Size-uint64(len(b)) {
		return fmt.Errorf("data abort")
	}
	for i, c := range b {
		a := address + uint64(i)
		page := m.pages[a/pageSize]
		if page == nil {
			page = make([]byte, pageSize)
			m.pages[a/pageSize] = page
		}
		page[a%pageSize] = c
	}
	return nil
}
