-- When somebody last gave an image a name. That it was pulled or loaded under one does not count.
CREATE TABLE image_tagged (
    image TEXT    NOT NULL PRIMARY KEY REFERENCES images ON DELETE CASCADE,
    at    INTEGER NOT NULL
) WITHOUT ROWID;
-- As it was told so far.
INSERT INTO image_tagged SELECT image, max(updated) FROM tags GROUP BY image;
