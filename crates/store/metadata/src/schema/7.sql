-- What builds have made, to be found again: layers, or directories of the builder.
CREATE TABLE build_records (
    id          TEXT    NOT NULL PRIMARY KEY,
    kind        TEXT    NOT NULL,          -- regular, source.local, exec.cachemount, ...
    chain       TEXT,                      -- the layer, with those below it
    identity    TEXT    NOT NULL,          -- what steps that work on it are keyed by
    description TEXT    NOT NULL,          -- the step, for people
    size        INTEGER NOT NULL,
    created     INTEGER NOT NULL,
    used        INTEGER NOT NULL,
    uses        INTEGER NOT NULL,
    detail      TEXT    NOT NULL           -- the builder's, JSON
) WITHOUT ROWID;
CREATE INDEX build_records_by_chain ON build_records (chain);

-- What a record is found by: the digest of a step with what it worked on.
CREATE TABLE build_keys (
    key    TEXT NOT NULL PRIMARY KEY,
    record TEXT NOT NULL REFERENCES build_records ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX build_keys_by_record ON build_keys (record);

-- What a selection of files in a layer, with those below it, comes to.
CREATE TABLE build_digests (
    identity  TEXT    NOT NULL,
    selection TEXT    NOT NULL,            -- the digest of what was selected by
    digest    TEXT    NOT NULL,
    used      INTEGER NOT NULL,
    PRIMARY KEY (identity, selection)
) WITHOUT ROWID;
