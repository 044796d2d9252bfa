-- Images that a container has mounted, beside the one that it was made of.
CREATE TABLE container_images (
    container TEXT NOT NULL REFERENCES containers ON DELETE CASCADE,
    image     TEXT NOT NULL,
    PRIMARY KEY (container, image)
) WITHOUT ROWID;
CREATE INDEX container_images_by_image ON container_images (image);
