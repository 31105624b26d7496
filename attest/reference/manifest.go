package reference

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"path"

	"assay/firmware"
)

// Manifest is what an image consists of.
type Manifest struct {
	Regions []Region
	Files   []File
}

// Region is a region of an image, or of what a region or file of it unpacks to.
type Region struct {
	Path   string // regions and files from the outside in, as format@offset and names
	Offset int64  // in the image that holds it
	Size   int64
	Format string
	Role   string
	State  string
	SHA256 string
}

// File is a regular file of an image.
type File struct {
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// manifest lists what an analysis found.
func manifest(img *firmware.Image) *Manifest {
	m := &Manifest{}
	m.image(img, "")
	return m
}

func (m *Manifest) image(img *firmware.Image, where string) {
	for _, r := range img.Regions {
		m.region(r, where)
	}
}

func (m *Manifest) region(r *firmware.Region, where string) {
	where = path.Join(where, r.Label())
	m.Regions = append(m.Regions, Region{where, r.Offset, r.Size, r.Format, string(r.Role), r.State.String(), r.SHA256})
	for _, c := range r.Children {
		m.region(c, where)
	}
	if r.Contents != nil {
		m.image(r.Contents, where)
	}
	for _, f := range r.Files {
		if !f.Mode.IsRegular() || f.SHA256 == "" {
			continue
		}
		at := path.Join(where, f.Path)
		m.Files = append(m.Files, File{at, f.Size, f.SHA256})
		if f.Contents != nil {
			m.image(f.Contents, at)
		}
	}
}

func packFiles(files []File) ([]byte, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if err := json.NewEncoder(z).Encode(files); err != nil {
		return nil, err
	}
	err := z.Close()
	return b.Bytes(), err
}

// mostFiles bounds what a list of files may unpack to.
const mostFiles = 512 << 20

func unpackFiles(b []byte) (files []File, err error) {
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err == nil {
		err = json.NewDecoder(io.LimitReader(z, mostFiles)).Decode(&files)
	}
	if err != nil {
		return nil, fmt.Errorf("its list of files: %w", err)
	}
	return files, nil
}
