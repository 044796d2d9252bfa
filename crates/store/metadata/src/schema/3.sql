-- What the registry of our own was given, beside the engine's images. A repository is an image's
-- name in full, without a tag: localhost:5000/me/app.
CREATE TABLE served_manifests (
    repository TEXT    NOT NULL,
    digest     TEXT    NOT NULL,
    media_type TEXT    NOT NULL,           -- as it was pushed
    artifact   TEXT,                       -- the type by which referrers are filtered
    subject    TEXT,                       -- the digest of the manifest that it is about
    image      TEXT,                       -- the image that the engine has of it
    added      INTEGER NOT NULL,
    PRIMARY KEY (repository, digest)
) WITHOUT ROWID;
CREATE INDEX served_manifests_by_digest ON served_manifests (digest);
CREATE INDEX served_manifests_by_subject ON served_manifests (repository, subject);
CREATE INDEX served_manifests_by_image ON served_manifests (image);

-- What a manifest consists of: blobs, or other manifests.
CREATE TABLE served_parts (
    repository TEXT    NOT NULL,
    manifest   TEXT    NOT NULL,
    part       TEXT    NOT NULL,
    PRIMARY KEY (repository, manifest, part),
    FOREIGN KEY (repository, manifest) REFERENCES served_manifests ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX served_parts_by_part ON served_parts (part);

CREATE TABLE served_tags (
    repository TEXT    NOT NULL,
    tag        TEXT    NOT NULL,
    manifest   TEXT    NOT NULL,
    image      TEXT,                       -- the image that has this name as well
    updated    INTEGER NOT NULL,
    PRIMARY KEY (repository, tag),
    FOREIGN KEY (repository, manifest) REFERENCES served_manifests ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX served_tags_by_manifest ON served_tags (repository, manifest);
