"""Images in folders: listed, decoded, cropped, kept decoded."""
