package provenance

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"assay/attest"
	"assay/internal/durable"
)

// ModelSchema is the schema of a model endorsement's file.
const ModelSchema = "https://assay.example/model-endorsement/v1"

// ModelEndorsement says of some models of a maker that they boot only firmware
// that the maker signed. It is the operator's word about what the maker
// publishes, with its source; it is no signature by the maker.
type ModelEndorsement struct {
	Schema string    `json:"schema"`
	ID     string    `json:"id"`    // first 16 hexadecimal digits of the digest of maker and models
	Maker  string    `json:"maker"` // id in the entity data
	Models []string  `json:"models"`
	Says   string    `json:"says"` // always SignedBootEnforced
	Source string    `json:"source"`
	Added  time.Time `json:"added"`
}

// SignedBootEnforced is what a model endorsement says. It is also the value of
// the claim that is made of it.
const SignedBootEnforced = "enforced"

// NewModelEndorsement makes an endorsement. Without models it would speak for
// units that nobody has looked up, and without a source nobody could.
func NewModelEndorsement(maker string, models []string, source string, now time.Time) (*ModelEndorsement, error) {
	models = slices.DeleteFunc(slices.Clone(models), func(m string) bool { return strings.TrimSpace(m) == "" })
	switch {
	case maker == "":
		return nil, errors.New("a model endorsement must name the maker")
	case len(models) == 0:
		return nil, errors.New("a model endorsement must name the models")
	case strings.TrimSpace(source) == "":
		return nil, errors.New("a model endorsement must name its source")
	}
	slices.Sort(models)
	id := attest.DigestOf([]byte(strings.ToLower("signed-boot\n" + maker + "\n" + strings.Join(models, "\n"))))
	return &ModelEndorsement{
		Schema: ModelSchema, ID: id.Hex()[:16], Maker: maker, Models: models, Says: SignedBootEnforced, Source: source,
		Added: now.UTC().Truncate(time.Second),
	}, nil
}

// Speaks reports whether the endorsement is about this maker's model.
func (m *ModelEndorsement) Speaks(maker, model string) bool {
	return m.Maker == maker && slices.ContainsFunc(m.Models, func(x string) bool { return strings.EqualFold(x, strings.TrimSpace(model)) })
}

// modelFolder is the folder, in the trust store's, of model endorsements.
const modelFolder = "models"

func readModels(dir string) ([]*ModelEndorsement, error) {
	names, err := filepath.Glob(filepath.Join(dir, modelFolder, "*.json"))
	if err != nil {
		return nil, err
	}
	var out []*ModelEndorsement
	for _, name := range names {
		m, err := readModel(name)
		if err != nil {
			return nil, fmt.Errorf("trust store: %s: %w", name, err)
		}
		out = append(out, m)
	}
	return out, nil
}

func readModel(name string) (*ModelEndorsement, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var m ModelEndorsement
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, err
	}
	if m.Schema != ModelSchema || m.Says != SignedBootEnforced {
		return nil, fmt.Errorf("schema %q with %q is not %q with %q", m.Schema, m.Says, ModelSchema, SignedBootEnforced)
	}
	again, err := NewModelEndorsement(m.Maker, m.Models, m.Source, m.Added)
	if err != nil {
		return nil, err
	}
	if again.ID != m.ID || filepath.Base(name) != m.ID+".json" {
		return nil, errors.New("its maker and models do not have the id or file name that it says")
	}
	return again, nil
}

// Models returns the model endorsements, by id.
func (s *Store) Models() []*ModelEndorsement { return s.models }

// Endorse keeps a model endorsement.
func (s *Store) Endorse(m *ModelEndorsement) error {
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	if err := durable.MkdirAll(filepath.Join(s.dir, modelFolder), 0o700); err != nil {
		return fmt.Errorf("trust store: %w", err)
	}
	err = durable.Create(filepath.Join(s.dir, modelFolder, m.ID+".json"), 0o600, durable.Bytes(append(b, '\n')))
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("trust store: these models are endorsed already; remove that first with: assay trust rm %s", m.ID)
	}
	if err != nil {
		return fmt.Errorf("trust store: %w", err)
	}
	s.models = append(s.models, m)
	return nil
}
