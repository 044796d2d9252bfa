-- Times are nanoseconds since 1970 (UTC), sizes bytes, digests `ALGORITHM:HEX`.

-- An image is its configuration; the same content under two names is one row.
CREATE TABLE images (
    id       TEXT    NOT NULL PRIMARY KEY, -- the digest of the configuration
    manifest TEXT    NOT NULL,             -- the digest of the manifest
    size     INTEGER NOT NULL,             -- of all layers, unpacked
    created  INTEGER NOT NULL,             -- as the image says
    added    INTEGER NOT NULL              -- when it came into this store
) WITHOUT ROWID;

CREATE TABLE image_layers (
    image    TEXT    NOT NULL REFERENCES images ON DELETE CASCADE,
    position INTEGER NOT NULL,             -- 0 is the lowest
    chain    TEXT    NOT NULL,
    diff     TEXT    NOT NULL,
    blob     TEXT    NOT NULL,             -- the layer's archive in the content store
    PRIMARY KEY (image, position)
) WITHOUT ROWID;
CREATE INDEX image_layers_by_chain ON image_layers (chain);
CREATE INDEX image_layers_by_blob ON image_layers (blob);

CREATE TABLE tags (
    reference TEXT    NOT NULL PRIMARY KEY, -- in full: docker.io/library/debian:12
    image     TEXT    NOT NULL REFERENCES images,
    updated   INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX tags_by_image ON tags (image);

-- Layers that are unpacked.
CREATE TABLE layers (
    chain   TEXT    NOT NULL PRIMARY KEY,
    diff    TEXT    NOT NULL,
    parent  TEXT,
    size    INTEGER NOT NULL,
    created INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX layers_by_parent ON layers (parent);

-- Root file system archives that were run directly, so that the second run need not read them.
CREATE TABLE archives (
    device  INTEGER NOT NULL,
    inode   INTEGER NOT NULL,
    size    INTEGER NOT NULL,
    mtime   INTEGER NOT NULL,
    ctime   INTEGER NOT NULL,
    image   TEXT    NOT NULL REFERENCES images ON DELETE CASCADE,
    PRIMARY KEY (device, inode)
) WITHOUT ROWID;
CREATE INDEX archives_by_image ON archives (image);

CREATE TABLE containers (
    id          TEXT    NOT NULL PRIMARY KEY,
    name        TEXT    NOT NULL UNIQUE,
    image       TEXT,                      -- may be gone: `rmi --force`
    snapshot    TEXT,                      -- the key of its writable layer
    auto_remove INTEGER NOT NULL,
    created     INTEGER NOT NULL,
    config      TEXT    NOT NULL           -- the engine's record, JSON
) WITHOUT ROWID;
CREATE INDEX containers_by_image ON containers (image);

-- What somebody is about to do, or was when they died.
CREATE TABLE operations (
    subject TEXT    NOT NULL,              -- a container's, network's or image's id
    kind    TEXT    NOT NULL,
    owner   TEXT    NOT NULL,              -- the process
    detail  TEXT    NOT NULL,
    started INTEGER NOT NULL,
    PRIMARY KEY (subject, kind)
) WITHOUT ROWID;

CREATE TABLE networks (
    id      TEXT    NOT NULL PRIMARY KEY,
    name    TEXT    NOT NULL UNIQUE,
    created INTEGER NOT NULL,
    config  TEXT    NOT NULL
) WITHOUT ROWID;

CREATE TABLE leases (
    network   TEXT    NOT NULL REFERENCES networks ON DELETE CASCADE,
    address   TEXT    NOT NULL,
    container TEXT    NOT NULL,
    released  INTEGER,                     -- since when it is nobody's
    PRIMARY KEY (network, address)
) WITHOUT ROWID;
CREATE INDEX leases_by_container ON leases (container);

CREATE TABLE ports (
    protocol  TEXT    NOT NULL,
    port      INTEGER NOT NULL,
    address   TEXT    NOT NULL,            -- of the host
    container TEXT    NOT NULL,
    PRIMARY KEY (protocol, port, address)
) WITHOUT ROWID;
CREATE INDEX ports_by_container ON ports (container);

CREATE TABLE volumes (
    name    TEXT    NOT NULL PRIMARY KEY,
    created INTEGER NOT NULL,
    config  TEXT    NOT NULL
) WITHOUT ROWID;
