"""The embedded stack: real servers from wheels, supervised.

``control`` starts, finds and stops it; ``supervisor`` runs it. Nothing here is imported by a production process.
"""
