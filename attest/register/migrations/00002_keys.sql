-- +goose Up

-- The public keys that units showed, by the SHA-256 of their
-- SubjectPublicKeyInfo: a key that two units have proves the identity of neither.
CREATE TABLE keys (
    key  TEXT NOT NULL,
    unit TEXT NOT NULL REFERENCES units (digest),
    PRIMARY KEY (key, unit)
) STRICT, WITHOUT ROWID;
CREATE INDEX keys_unit ON keys (unit);

-- +goose Down
DROP TABLE keys;
