package filesystem

import (
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"assay/firmware"
)

// Survey is what a walk of a whole file system found.
type Survey struct {
	Files, Directories, Links, Devices, Others int   // inodes; Links are symbolic ones
	XAttrs                                     int   // inodes with extended attributes
	Bytes                                      int64 // of file contents, each inode once
	Problems                                   []string
}

const maxProblems = 64

func (s *Survey) problem(format string, args ...any) {
	switch {
	case len(s.Problems) < maxProblems:
		s.Problems = append(s.Problems, fmt.Sprintf(format, args...))
	case len(s.Problems) == maxProblems:
		s.Problems = append(s.Problems, "more problems are not listed")
	}
}

func (s *Survey) count(i *Inode) {
	switch i.Mode & typeMask {
	case typeFile:
		s.Files++
		s.Bytes += i.Size
	case typeDir:
		s.Directories++
	case typeLink:
		s.Links++
	case typeChar, typeBlock:
		s.Devices++
	default:
		s.Others++
	}
	if i.XAttrs {
		s.XAttrs++
	}
}

func (s *Survey) total() int { return s.Files + s.Directories + s.Links + s.Devices + s.Others }

func (s *Survey) describe(r *firmware.Region) {
	r.AddField("files", "%d", s.Files)
	r.AddField("directories", "%d", s.Directories)
	r.AddField("symbolic links", "%d", s.Links)
	r.AddField("device nodes", "%d", s.Devices)
	if s.Others > 0 {
		r.AddField("fifos and sockets", "%d", s.Others)
	}
	if s.XAttrs > 0 {
		r.AddField("files with extended attributes", "%d", s.XAttrs)
	}
	r.AddField("bytes in files", "%d", s.Bytes)
	for _, problem := range s.Problems {
		r.AddProblem("%s", problem)
	}
}

// tally puts counts by what they are of into words. An image may have very many.
func tally(counts map[string]int) string {
	const most = 16
	var list []string
	for _, what := range slices.Sorted(maps.Keys(counts)) {
		if len(list) == most {
			list = append(list, fmt.Sprintf("and %d others", len(counts)-most))
			break
		}
		list = append(list, fmt.Sprintf("%s: %d", what, counts[what]))
	}
	return strings.Join(list, ", ")
}

// looksLikeRoot says whether a unit could boot into these files: it wants
// programs and configuration.
func looksLikeRoot(files fs.FS) bool {
	has := func(names ...string) bool {
		for _, name := range names {
			if _, err := fs.Lstat(files, name); err == nil {
				return true
			}
		}
		return false
	}
	return has("bin", "sbin", "usr/bin", "usr/sbin") && has("etc")
}
