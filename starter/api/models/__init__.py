"""What the API takes and gives: JSON with decimal strings for amounts. Unknown fields are refused, so that a typo is never ignored."""
