package provenance

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// This file takes the NAL units out of a recording: a byte stream as H.264 and
// H.265 annexes B have it, or an MP4 file (ISO/IEC 14496-12 and -15). Only the
// first video track of an MP4 is read, and no fragmented one.

// MaxRecording bounds a recording; a minute of video is some 30 MiB.
const MaxRecording = 256 << 20

// maxUnits bounds the NAL units of a recording.
const maxUnits = 1 << 20

var errRecording = errors.New("not a recording that can be read")

// recording is the video of a file.
type recording struct {
	h265  bool
	units [][]byte // NAL units with their headers, without start codes
}

func readRecording(b []byte) (recording, error) {
	if len(b) > MaxRecording {
		return recording{}, fmt.Errorf("%w: over %d MiB", errRecording, MaxRecording>>20)
	}
	var r recording
	var err error
	switch {
	case len(b) >= 12 && string(b[4:8]) == "ftyp":
		r, err = readMP4(b)
	case bytes.HasPrefix(b, []byte{0, 0, 1}), bytes.HasPrefix(b, []byte{0, 0, 0, 1}):
		r = readByteStream(b)
	default:
		return r, fmt.Errorf("%w: neither MP4 nor a byte stream of H.264 or H.265", errRecording)
	}
	if err != nil {
		return r, err
	}
	if len(r.units) == 0 {
		return r, fmt.Errorf("%w: no NAL unit in it", errRecording)
	}
	return r, nil
}

// readByteStream splits at start codes (annex B.1). H.265 shows by its video
// parameter sets and the header of its SEIs, which H.264 has no like of.
func readByteStream(b []byte) recording {
	var r recording
	start := []byte{0, 0, 1}
	at := bytes.Index(b, start)
	for at >= 0 && len(r.units) < maxUnits {
		b = b[at+3:]
		at = bytes.Index(b, start)
		unit := b
		if at >= 0 {
			unit = b[:at]
		}
		unit = bytes.TrimRight(unit, "\x00")
		if len(unit) < 2 {
			continue
		}
		r.units = append(r.units, unit)
		r.h265 = r.h265 || (unit[0] == 32<<1 || unit[0] == 39<<1) && unit[1] == 1
	}
	return r
}

type box struct {
	kind string
	body []byte
}

// boxes reads the boxes of one level.
func boxes(b []byte) ([]box, error) {
	var out []box
	for len(b) > 0 {
		if len(b) < 8 {
			return nil, fmt.Errorf("%w: MP4: a box is cut off", errRecording)
		}
		n, header := uint64(binary.BigEndian.Uint32(b)), uint64(8)
		switch {
		case n == 1 && len(b) >= 16:
			n, header = binary.BigEndian.Uint64(b[8:]), 16
		case n == 0:
			n = uint64(len(b))
		}
		if n < header || n > uint64(len(b)) || len(out) >= 4096 {
			return nil, fmt.Errorf("%w: MP4: box %q of %d bytes", errRecording, b[4:8], n)
		}
		out = append(out, box{string(b[4:8]), b[header:n]})
		b = b[n:]
	}
	return out, nil
}

// find goes down the boxes of these kinds, the first of each.
func find(b []byte, path ...string) ([]byte, error) {
	for _, kind := range path {
		all, err := boxes(b)
		if err != nil {
			return nil, err
		}
		found := false
		for _, x := range all {
			if x.kind == kind {
				b, found = x.body, true
				break
			}
		}
		if !found {
			return nil, fmt.Errorf("%w: MP4: no %s", errRecording, kind)
		}
	}
	return b, nil
}

func readMP4(file []byte) (recording, error) {
	moov, err := find(file, "moov")
	if err != nil {
		return recording{}, err
	}
	tracks, err := boxes(moov)
	if err != nil {
		return recording{}, err
	}
	for _, t := range tracks {
		if t.kind != "trak" {
			continue
		}
		handler, err := find(t.body, "mdia", "hdlr")
		if err != nil || len(handler) < 12 || string(handler[8:12]) != "vide" {
			continue
		}
		table, err := find(t.body, "mdia", "minf", "stbl")
		if err != nil {
			return recording{}, err
		}
		return readTrack(file, table)
	}
	return recording{}, fmt.Errorf("%w: MP4: no video track", errRecording)
}

// readTrack reads the samples of a track, each a run of NAL units behind their
// lengths (ISO/IEC 14496-15 section 5.3.4.2).
func readTrack(file, table []byte) (recording, error) {
	var r recording
	description, err := find(table, "stsd")
	if err != nil {
		return r, err
	}
	size, err := r.describe(description)
	if err != nil {
		return r, err
	}
	samples, err := sampleExtents(file, table)
	if err != nil {
		return r, err
	}
	for _, s := range samples {
		for len(s) > 0 {
			if len(s) < size {
				return r, fmt.Errorf("%w: MP4: a sample ends in a length", errRecording)
			}
			n := 0
			for _, c := range s[:size] {
				n = n<<8 | int(c)
			}
			if s = s[size:]; n < 0 || n > len(s) || len(r.units) >= maxUnits {
				return r, fmt.Errorf("%w: MP4: a NAL unit of %d bytes", errRecording, n)
			}
			// ffmpeg leaves a zero byte after some NAL units of H.265.
			if unit := bytes.TrimRight(s[:n], "\x00"); len(unit) >= 2 {
				r.units = append(r.units, unit)
			}
			s = s[n:]
		}
	}
	return r, nil
}

// describe finds the codec and the size of the lengths in a sample description.
func (r *recording) describe(stsd []byte) (int, error) {
	const entryHeader = 78 // of a VisualSampleEntry
	if len(stsd) < 8 {
		return 0, fmt.Errorf("%w: MP4: stsd is cut off", errRecording)
	}
	entries, err := boxes(stsd[8:])
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		if len(e.body) < entryHeader {
			continue
		}
		switch e.kind {
		case "avc1", "avc3":
			if c, err := find(e.body[entryHeader:], "avcC"); err == nil && len(c) > 4 {
				return int(c[4]&3) + 1, nil
			}
		case "hvc1", "hev1":
			if c, err := find(e.body[entryHeader:], "hvcC"); err == nil && len(c) > 21 {
				r.h265 = true
				return int(c[21]&3) + 1, nil
			}
		}
	}
	return 0, fmt.Errorf("%w: MP4: its video is neither H.264 nor H.265", errRecording)
}

// sampleExtents finds the samples in the file by their sizes and chunks.
func sampleExtents(file, table []byte) ([][]byte, error) {
	cut := fmt.Errorf("%w: MP4: the sample table does not hold", errRecording)
	sizes, err := find(table, "stsz")
	if err != nil {
		return nil, err
	}
	chunkMap, err := find(table, "stsc")
	if err != nil {
		return nil, err
	}
	offsets, wide := []byte(nil), 4
	if offsets, err = find(table, "stco"); err != nil {
		if offsets, err = find(table, "co64"); err != nil {
			return nil, err
		}
		wide = 8
	}
	if len(sizes) < 12 || len(chunkMap) < 8 || len(offsets) < 8 {
		return nil, cut
	}
	same, count := binary.BigEndian.Uint32(sizes[4:]), int(binary.BigEndian.Uint32(sizes[8:]))
	chunks, runs := int(binary.BigEndian.Uint32(offsets[4:])), int(binary.BigEndian.Uint32(chunkMap[4:]))
	sizes, offsets, chunkMap = sizes[12:], offsets[8:], chunkMap[8:]
	if count > maxUnits || chunks > maxUnits || runs > maxUnits || same == 0 && len(sizes) < 4*count || len(offsets) < wide*chunks || len(chunkMap) < 12*runs || runs == 0 {
		return nil, cut
	}
	var out [][]byte
	run := 0
	for chunk := range chunks {
		for run+1 < runs && uint32(chunk+1) >= binary.BigEndian.Uint32(chunkMap[12*(run+1):]) {
			run++
		}
		var at uint64
		if wide == 8 {
			at = binary.BigEndian.Uint64(offsets[8*chunk:])
		} else {
			at = uint64(binary.BigEndian.Uint32(offsets[4*chunk:]))
		}
		for range binary.BigEndian.Uint32(chunkMap[12*run+4:]) {
			if len(out) == count {
				return out, nil
			}
			n := uint64(same)
			if same == 0 {
				n = uint64(binary.BigEndian.Uint32(sizes[4*len(out):]))
			}
			if at > uint64(len(file)) || n > uint64(len(file))-at {
				return nil, cut
			}
			out = append(out, file[at:at+n])
			at += n
		}
	}
	return out, nil
}
