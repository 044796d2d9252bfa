-- What images are called at registries: NAME@DIGEST in full. The digest is of what was pulled,
-- which may be an index of several images.
CREATE TABLE repo_digests (
    reference TEXT NOT NULL PRIMARY KEY,
    image     TEXT NOT NULL REFERENCES images ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX repo_digests_by_image ON repo_digests (image);

-- What a pull has brought, or counts on, before its image is recorded. Nothing of it is deleted
-- until then.
CREATE TABLE pull_holds (
    holder TEXT    NOT NULL,
    target TEXT    NOT NULL,               -- a blob's digest, or a layer's chain
    until  INTEGER NOT NULL,
    PRIMARY KEY (holder, target)
) WITHOUT ROWID;
CREATE INDEX pull_holds_by_target ON pull_holds (target);
