"""Delivery of messages to customers: words, e-mail, webhooks, and the loop that hands messages to them."""
