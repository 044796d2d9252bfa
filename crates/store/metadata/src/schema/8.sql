-- Of which image a container was that another was made of (`commit`). Either may go without the other.
CREATE TABLE image_parents (
    image  TEXT NOT NULL PRIMARY KEY REFERENCES images ON DELETE CASCADE,
    parent TEXT NOT NULL
) WITHOUT ROWID;

-- The archive of a layer is looked for by the layer alone, too.
CREATE INDEX image_layers_by_diff ON image_layers (diff);
