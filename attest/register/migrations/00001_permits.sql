-- +goose Up

-- What a unit is, by the digest of its identity record.
CREATE TABLE units (
    digest   TEXT PRIMARY KEY,
    maker    TEXT NOT NULL COLLATE NOCASE,
    model    TEXT NOT NULL COLLATE NOCASE,
    identity BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX units_maker ON units (maker);

-- The serial numbers and MAC addresses to find a unit by.
CREATE TABLE identifiers (
    kind  TEXT NOT NULL CHECK (kind IN ('serial', 'mac')),
    value TEXT NOT NULL COLLATE NOCASE,
    unit  TEXT NOT NULL REFERENCES units (digest),
    PRIMARY KEY (kind, value, unit)
) STRICT, WITHOUT ROWID;
CREATE INDEX identifiers_unit ON identifiers (unit);

-- Evidence and artefacts are blobs; the rows say which there must be.
CREATE TABLE evidence (
    digest TEXT PRIMARY KEY,
    size   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE artefacts (
    evidence   TEXT NOT NULL REFERENCES evidence (digest),
    digest     TEXT NOT NULL,
    media_type TEXT NOT NULL,
    size       INTEGER NOT NULL,
    what       TEXT NOT NULL,
    PRIMARY KEY (evidence, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX artefacts_digest ON artefacts (digest);

-- Times are seconds since 1970 in UTC.
CREATE TABLE permits (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    digest      TEXT NOT NULL UNIQUE, -- of the signed payload
    id          TEXT NOT NULL UNIQUE, -- its first 16 digits
    unit        TEXT NOT NULL REFERENCES units (digest),
    evidence    TEXT NOT NULL REFERENCES evidence (digest),
    verdict     TEXT NOT NULL CHECK (verdict IN ('permitted', 'refused', 'inconclusive')),
    profile     TEXT NOT NULL,
    station     TEXT NOT NULL,
    station_key TEXT NOT NULL,
    issued      INTEGER NOT NULL,
    not_before  INTEGER NOT NULL,
    not_after   INTEGER NOT NULL,
    bundle      BLOB NOT NULL,
    result      BLOB NOT NULL
) STRICT;
CREATE INDEX permits_unit ON permits (unit);
CREATE INDEX permits_evidence ON permits (evidence);
CREATE INDEX permits_verdict ON permits (verdict);

-- +goose Down
DROP TABLE permits;
DROP TABLE artefacts;
DROP TABLE evidence;
DROP TABLE identifiers;
DROP TABLE units;
