-- What is more than the manifest of one image: indexes, kept whole, other manifests of an image
-- that is there, and artifacts.
CREATE TABLE targets (
    digest     TEXT    NOT NULL PRIMARY KEY,
    media_type TEXT    NOT NULL,
    image      TEXT    NOT NULL REFERENCES images, -- of its images the one that is meant here
    added      INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX targets_by_image ON targets (image);

-- What of a target is here: documents and blobs.
CREATE TABLE target_parts (
    target TEXT NOT NULL REFERENCES targets ON DELETE CASCADE,
    part   TEXT NOT NULL,
    PRIMARY KEY (target, part)
) WITHOUT ROWID;
CREATE INDEX target_parts_by_part ON target_parts (part);

-- The images of a target that are here and unpacked.
CREATE TABLE target_images (
    target   TEXT NOT NULL REFERENCES targets ON DELETE CASCADE,
    manifest TEXT NOT NULL,
    image    TEXT NOT NULL REFERENCES images ON DELETE CASCADE,
    PRIMARY KEY (target, manifest)
) WITHOUT ROWID;
CREATE INDEX target_images_by_image ON target_images (image);

-- What a name means, where that is not the manifest of its image.
ALTER TABLE tags ADD COLUMN target TEXT REFERENCES targets;
CREATE INDEX tags_by_target ON tags (target);
