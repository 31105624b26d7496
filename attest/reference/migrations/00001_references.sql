-- +goose Up

-- A maker is an entity of the entity data, or a name that it does not know.
CREATE TABLE makers (
    id     INTEGER PRIMARY KEY,
    entity TEXT NOT NULL,
    name   TEXT NOT NULL COLLATE NOCASE,
    UNIQUE (entity, name)
) STRICT;

-- Times are seconds since 1970 in UTC.
CREATE TABLE images (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    id      TEXT NOT NULL UNIQUE,
    digest  TEXT NOT NULL,
    size    INTEGER NOT NULL,
    maker   INTEGER NOT NULL REFERENCES makers (id),
    model   TEXT NOT NULL COLLATE NOCASE,
    version TEXT NOT NULL,
    board   TEXT NOT NULL COLLATE NOCASE,
    class   INTEGER NOT NULL CHECK (class IN (2, 3)),
    source  TEXT NOT NULL,
    added   INTEGER NOT NULL,
    rules   INTEGER NOT NULL, -- by which its profile was made
    small   INTEGER NOT NULL,
    files   BLOB NOT NULL     -- all of its files, see manifest.go
) STRICT;
CREATE INDEX images_digest ON images (digest);
CREATE INDEX images_maker ON images (maker);

CREATE TABLE regions (
    image  INTEGER NOT NULL REFERENCES images (seq),
    path   TEXT NOT NULL, -- regions and files from the outside in, as format@offset and names
    offset INTEGER NOT NULL,
    size   INTEGER NOT NULL,
    format TEXT NOT NULL,
    role   TEXT NOT NULL,
    state  TEXT NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (image, path)
) STRICT, WITHOUT ROWID;
CREATE INDEX regions_digest ON regions (digest);

-- Parts are stored once, however many images have them. data holds their traits
-- and sketches, see part.go.
CREATE TABLE parts (
    id     INTEGER PRIMARY KEY,
    sha256 BLOB NOT NULL,
    kind   TEXT NOT NULL,
    rules  INTEGER NOT NULL,
    size   INTEGER NOT NULL,
    known  TEXT NOT NULL,
    data   BLOB NOT NULL,
    UNIQUE (sha256, kind, rules)
) STRICT;

CREATE TABLE holds (
    image INTEGER NOT NULL REFERENCES images (seq),
    part  INTEGER NOT NULL REFERENCES parts (id),
    path  TEXT NOT NULL, -- the first, of several copies
    PRIMARY KEY (image, part)
) STRICT, WITHOUT ROWID;
CREATE INDEX holds_part ON holds (part, image);

-- The inverted index: which parts have a feature, a row for each maker that has
-- the part in any image.
CREATE TABLE postings (
    feature INTEGER NOT NULL,
    maker   INTEGER NOT NULL,
    part    INTEGER NOT NULL,
    PRIMARY KEY (feature, maker, part)
) STRICT, WITHOUT ROWID;

-- +goose Down
DROP TABLE postings;
DROP TABLE holds;
DROP TABLE parts;
DROP TABLE regions;
DROP TABLE images;
DROP TABLE makers;
