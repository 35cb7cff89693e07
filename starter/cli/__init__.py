"""The command line: a module for each group of commands; :mod:`starter.cli.main` puts them together."""
