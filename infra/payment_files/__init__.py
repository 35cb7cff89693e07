"""Payment files: their formats, and how they are validated."""
