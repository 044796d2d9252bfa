-- When an image was last used: a container was made of it, or the last one went.
CREATE TABLE image_uses (
    image TEXT    NOT NULL PRIMARY KEY REFERENCES images ON DELETE CASCADE,
    used  INTEGER NOT NULL
) WITHOUT ROWID;
