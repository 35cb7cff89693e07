-- Run by PostgreSQL's image when its folder is empty, beside the database `temporal` that the image makes itself.
CREATE DATABASE temporal_visibility;
