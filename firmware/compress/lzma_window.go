package compress

// lzmaWindow is where a stream unpacks to. Its buffer is the dictionary and
// what was not yet handed out, in one piece: when it is full, the dictionary is
// moved to its front.
type lzmaWindow struct {
	buf    []byte
	size   int // what buf may grow to
	window int // what must stay of it
	base   int // where the dictionary starts; negative when that is gone
	pos    int // how far the decoder came
	out    int // how far the reader came

	whole bool  // nothing is moved or dropped: all that is unpacked stays in buf
	total int64 // then: how much that is said to be, or -1

	hold func(int64) error // pays for so many bytes of buf, before there are that many
}

// lzmaSpare is room for what a symbol writes past the limit it was given, and
// for copying in whole words.
const lzmaSpare = lzmaLongest + 16

// windowMemory is what a window takes with the room to move it. total is what
// the stream unpacks to, or -1. A stream that says its size is held to it, so
// that the buffer need not be larger.
func windowMemory(window, total int64) int64 {
	n := window + min(max(window/4, 64<<10), 4<<20)
	if total >= 0 {
		n = min(n, total)
	}
	return n + lzmaSpare
}

// begin makes the window ready for a new stream.
func (w *lzmaWindow) begin(window, total int64) {
	w.size = int(windowMemory(window, total))
	w.window = int(window)
	w.base, w.pos, w.out = 0, 0, 0
}

// limit is how far a decoder may come, plus spare. It makes room when there is
// none. All up to pos must have been handed out.
func (w *lzmaWindow) limit() (int, error) {
	if w.whole {
		return w.further()
	}
	if w.pos+lzmaSpare < len(w.buf) {
		return len(w.buf) - lzmaSpare, nil
	}
	// Memory comes, and is paid for, as it is filled: the window's size is a claim.
	if len(w.buf) < w.size {
		size := min(w.size, max(32<<10, 2*len(w.buf)))
		if err := w.hold(int64(size)); err != nil {
			return 0, err
		}
		grown := make([]byte, size)
		copy(grown, w.buf[:w.pos])
		w.buf = grown
		if w.pos+lzmaSpare < len(w.buf) {
			return len(w.buf) - lzmaSpare, nil
		}
	}
	// The position's low bits are part of LZMA's contexts and must stay.
	shift := (w.pos - w.window) &^ 15
	if shift <= 0 {
		return w.pos, nil
	}
	copy(w.buf, w.buf[shift:w.pos])
	w.base -= shift
	w.pos -= shift
	w.out -= shift
	return len(w.buf) - lzmaSpare, nil
}

// further makes room behind what there is. It is paid for as it is filled. What
// is said of the total only saves copying: a buffer is at most sixteen times what
// is in it, and twice where that is not said.
func (w *lzmaWindow) further() (int, error) {
	if w.pos+lzmaSpare >= len(w.buf) {
		size := max(32<<10, 2*len(w.buf))
		if w.total > int64(w.pos) {
			size = max(32<<10, 8*len(w.buf))
			if w.total <= 2*int64(size)-lzmaSpare { // a claim, which may be of any size
				size = int(w.total) + lzmaSpare
			}
		}
		grown := make([]byte, size)
		copy(grown, w.buf[:w.pos])
		w.buf = grown
	}
	limit := min(len(w.buf)-lzmaSpare, w.pos+maxRead)
	return limit, w.hold(int64(limit + lzmaSpare))
}

// all is the first n bytes of what was unpacked. Room that would be wasted is
// given back.
func (w *lzmaWindow) all(n int64) []byte {
	p := w.buf[:n]
	w.buf = nil
	if cap(p) > 2*len(p) {
		return append(make([]byte, 0, len(p)), p...)
	}
	return p
}
