package station

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"

	"assay/attest/appraise"
	"assay/attest/entity"
	"assay/attest/permit"
	"assay/attest/provenance"
	"assay/attest/reference"
	"assay/attest/register"
)

// Home is the folder of a station's own state:
//
//	keys/station.key, .pub   what it signs with
//	trust/                   trust anchors, a file each
//	data/                    entity files that add to the shipped ones
//	profiles/                profiles that add to the shipped ones
//	references/              firmware images whose maker is known
//	register/                permits and the evidence under them
//	logins/                  logins that units did not take, for as long as units lock
type Home string

// HomeVariable is the environment variable that names the home.
const HomeVariable = "ASSAY_HOME"

// DefaultHome is $ASSAY_HOME, or the folder "assay" in the user's configuration.
func DefaultHome() (Home, error) {
	if h := os.Getenv(HomeVariable); h != "" {
		return Home(h), nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("home folder: %w; set %s", err, HomeVariable)
	}
	return Home(filepath.Join(dir, "assay")), nil
}

func (h Home) path(parts ...string) string {
	return filepath.Join(append([]string{string(h)}, parts...)...)
}

// KeyName is the name of the station's key pair in [Home.KeyDir].
const KeyName = "station"

// KeyDir is the folder of the station's keys.
func (h Home) KeyDir() string { return h.path("keys") }

// folder returns the file systems of a folder of the home: none where there is
// no such folder.
func (h Home) folder(name string) []fs.FS {
	dir := h.path(name)
	if st, err := os.Stat(dir); err != nil || !st.IsDir() {
		return nil
	}
	return []fs.FS{os.DirFS(dir)}
}

// Entities reads the entity data, shipped and own.
func (h Home) Entities() (*entity.Data, error) { return entity.Load(h.folder("data")...) }

// Profiles lists the ids of the profiles, shipped and own.
func (h Home) Profiles() ([]string, error) { return appraise.Profiles(h.folder("profiles")...) }

// Profile reads a profile.
func (h Home) Profile(id string, set map[string]string) (*appraise.Profile, error) {
	return appraise.Load(id, set, h.folder("profiles")...)
}

// Trust opens the trust store.
func (h Home) Trust() (*provenance.Store, error) { return provenance.OpenStore(h.path("trust")) }

// References opens the store of reference images.
func (h Home) References(ctx context.Context) (*reference.Store, error) {
	return reference.Open(ctx, h.path("references"))
}

// Register opens the register.
func (h Home) Register(ctx context.Context) (*register.Register, error) {
	return register.Open(ctx, h.path("register"))
}

// ErrNoKey says that the station has no key to sign with.
var ErrNoKey = errors.New("this station has no key; make one with: assay key init")

// Signer loads the private key at path, or the station's own when path is
// empty. passphrase is asked only where the key is encrypted.
func (h Home) Signer(path string, passphrase func() ([]byte, error)) (crypto.Signer, error) {
	own := path == ""
	if own {
		path = filepath.Join(h.KeyDir(), KeyName+".key")
	}
	b, err := os.ReadFile(path)
	if own && errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNoKey
	}
	if err != nil {
		return nil, fmt.Errorf("station key: %w", err)
	}
	// Where nobody can be asked, the key may have been left unprotected.
	var asked error
	signer, err := permit.LoadPrivate(b, func() (secret []byte, _ error) {
		secret, asked = passphrase()
		return secret, nil
	})
	if asked != nil && errors.Is(err, permit.ErrPassphrase) {
		return nil, asked
	}
	// Deriving the key took 64 MiB, which would set the pace of the garbage
	// collector for all that follows.
	debug.FreeOSMemory()
	if err != nil {
		return nil, fmt.Errorf("station key %s: %w", path, err)
	}
	return signer, nil
}

// PublicKeys loads the public keys of the files, or the station's own when
// there are none.
func (h Home) PublicKeys(paths []string) ([]crypto.PublicKey, error) {
	if len(paths) == 0 {
		own := filepath.Join(h.KeyDir(), KeyName+".pub")
		if _, err := os.Stat(own); err != nil {
			return nil, errors.New("no key to check against: give the issuing station's with --key FILE")
		}
		paths = []string{own}
	}
	var out []crypto.PublicKey
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err != nil {
			return nil, fmt.Errorf("public key: %w", err)
		}
		keys, err := permit.LoadPublic(b)
		if err != nil {
			return nil, fmt.Errorf("public key %s: %w", p, err)
		}
		out = append(out, keys...)
	}
	return out, nil
}
