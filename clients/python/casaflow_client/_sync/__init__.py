"""The synchronous client, made of the asynchronous one by ``clients/python/generate.py``."""
