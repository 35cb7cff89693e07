"""OAuth 2 access tokens (RFC 6750, RFC 9068): whose they are, by the keys of the issuers that are set up."""
